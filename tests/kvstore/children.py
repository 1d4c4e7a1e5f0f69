"""Forked children for tests: something to kill, to hold a lock, to run out of space. Forking skips a slow import."""

import multiprocessing
from contextlib import contextmanager

_FORK = multiprocessing.get_context("fork")


@contextmanager
def child(work, *arguments):
    """A process that runs `work(pipe, *arguments)`; gives its end of the pipe and the process, kills it at the end."""
    ours, theirs = _FORK.Pipe()
    process = _FORK.Process(target=work, args=(theirs, *arguments))
    process.start()
    theirs.close()
    try:
        yield ours, process
    finally:
        process.kill()
        process.join()
        ours.close()


def answer(work, *arguments):
    """What `work(*arguments)` returns in a child: its value, or the exception it raised."""

    def report(pipe):
        try:
            pipe.send(work(*arguments))
        except BaseException as error:
            pipe.send(error)

    with child(report) as (pipe, process):
        result = pipe.recv()
        process.join()
        return result
