"""`vllm serve` in a process, and an OpenAI client to it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

from openai import OpenAI

from benchmarks.vllm_engine import ENVIRONMENT
from connectors.hf.models import demo_model_dir
from tests.connectors.vllm.real_engine import DTYPE

_OWN_ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_SERVER_DEV_MODE": "1",  # has a page that empties vLLM's own prefix cache
}
START_S = 180


class Server:
    def __init__(self, kv_transfer_config, log, **options):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
        # what `vllm serve` runs: that command itself does not start where vLLM comes from the distribution for CPUs
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
        command += ["--model", str(demo_model_dir()), "--served-model-name", "demo"]
        options = {"port": self.port, "host": "127.0.0.1", "dtype": DTYPE, "max-model-len": 1024, **options}
        if kv_transfer_config is not None:
            options["kv-transfer-config"] = json.dumps(kv_transfer_config)
        given = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        self.process = subprocess.Popen(
            [*command, "--enforce-eager", "--enable-prompt-tokens-details", *given],
            env={**environment, **ENVIRONMENT, **_OWN_ENVIRONMENT},
            stdout=log,
            stderr=log,
        )
        self.log = log
        self.client = OpenAI(base_url=f"http://127.0.0.1:{self.port}/v1", api_key="none", max_retries=0, timeout=120)

    def wait(self):
        until_s = time.monotonic() + START_S
        while time.monotonic() < until_s and self.process.poll() is None:
            try:
                return self.page("health")
            except urllib.error.URLError:
                time.sleep(0.5)
        raise TimeoutError("vllm serve does not answer")

    def page(self, path, method="GET"):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/{path}", method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read().decode()

    def counter(self, name):
        lines = re.findall(rf"^vllm:{name}(?:_total)?{{[^}}]*}} (\S+)$", self.page("metrics"), re.MULTILINE)
        return sum(float(line) for line in lines)

    def answer(self, prompt, max_tokens=8):
        """Text, and how many of the prompt's tokens were not computed."""
        done = self.client.completions.create(model="demo", prompt=prompt, max_tokens=max_tokens, temperature=0)
        details = done.usage.prompt_tokens_details
        return done.choices[0].text, details.cached_tokens if details else 0

    def forget(self):
        self.page("reset_prefix_cache", "POST")

    def store_processes(self):
        """Process ids of what holds the store, for this server."""
        ours, parents = [], {self.process.pid}
        for line in subprocess.check_output(["ps", "-eo", "pid,ppid,args", "--sort=pid"], text=True).splitlines()[1:]:
            process, parent, command = line.split(None, 2)
            if int(parent) in parents:
                parents.add(int(process))
                if "connectors.vllm.store_process" in command:
                    ours.append(int(process))
        return ours

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)
