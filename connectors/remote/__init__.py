"""Frames on other machines: engines that people run already, behind one small contract."""
