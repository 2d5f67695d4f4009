# Every target works on a fresh clone; `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
# The index that PyTorch comes from; https://download.pytorch.org/whl/cpu has builds without CUDA, a tenth of the size.
TORCH_INDEX ?=
TORCH := $(shell grep '^torch==' constraints.txt)
export PROFILE ?= embedded
export PORT ?= 8000

.DEFAULT_GOAL := help
.PHONY: help install demo serve test test-long test-all test-environments test-environments-if-changed \
	test-image test-image-if-possible check format bench clean \
	image image-cpu push run-image endpoint

help:  ## list the targets
	@grep -hE '^[a-z%-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-10s %s\n", $$1, $$2}'

# silero-vad declares torch, which its ONNX model does not need: hence --no-deps.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "python's venv module is missing (Debian, Ubuntu: apt install python3-venv)"; exit 2; }
	@echo "installing into $(VENV)"
	@$(PIP) install -c constraints.txt -e '.[embedded,microphone]'
	@$(PIP) install -c constraints.txt --no-deps silero-vad
	@touch $@

# torch is installed by itself first: the rest takes the build that is there.
$(VENV)/.installed-torch: $(VENV)/.installed
	@echo "installing $(TORCH)"
	@$(PIP) install -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) $(TORCH)
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed-torch
	@$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@

install: $(VENV)/.installed  ## make .venv and install the service with its embedded models

TAGGER = $$($(BIN)/python -c 'from speech_to_speech.tts.kokoro.tagger import TAGGER; print(TAGGER)')

install-%: $(VENV)/.installed  ## install-cpu, install-l4, install-tiny, ...: what a profile or a backend needs
	@case "$*" in embedded|endpoint|faster-whisper|melo|microphone|mp3|openai|parler) ;; *) $(MAKE) --no-print-directory $(VENV)/.installed-torch ;; esac
	@echo "installing $*"
	@$(PIP) install -c constraints.txt -e '.[$*]'
	@# Some backends live in a virtual environment of their own.
	@case "$*" in l4|melo) $(BIN)/speech-to-speech env create melo ;; parler) $(BIN)/speech-to-speech env create parler ;; esac
	@# Kokoro's English needs a package that PyPI does not have.
	@case "$*" in cpu|kokoro) $(PIP) install $(TAGGER) \
		|| { echo "Kokoro's English tagger can't be downloaded (see above); all else is installed: try again, or take another --tts or --language"; exit 2; } ;; esac

demo: install  ## speak a question to the service and hear its answer (demo/*.wav)
	@$(BIN)/python scripts/demo.py

serve: install  ## run the service: PROFILE=embedded PORT=8000 make serve
	@exec $(BIN)/speech-to-speech serve

# Three tests run at a time on two cores, since they wait for a third of their time; of the long ones, which compute, two.
# Those that hear or measure in real time then run alone. To collect all tests takes seconds, so the few of a kind are
# looked for in the files that name it.
PYTEST = $(BIN)/python -m pytest --durations=20
AT_ONCE = --dist loadfile --no-loadscope-reorder -n
FILES_WITH = $$(grep -rl --include='test_*.py' 'mark\.$(1)\b' tests)

test: $(VENV)/.installed-dev  ## run the tests, which cover every behaviour
	@$(PYTEST) $(AT_ONCE) 3 -m 'not alone and not long'
	@$(PYTEST) -m 'alone and not long' $(call FILES_WITH,alone)

test-long: $(VENV)/.installed-dev  ## run those that take much time and tell little more: many turns, real-time sound
	@$(PYTEST) $(AT_ONCE) 2 -m 'long and not alone' $(call FILES_WITH,long)
	@$(PYTEST) -m 'long and alone' $(call FILES_WITH,long)

test-all: test test-long test-environments-if-changed test-image-if-possible  ## run all tests, as CI does

# The tests in the environment of a backend take minutes, so CI runs them when something changed that they import.
ENVIRONMENT_INPUTS = $(shell $(PYTHON) scripts/inputs_of.py tests/tts/test_parler.py scripts/make_tiny_parler.py \
	speech_to_speech/workers/child.py speech_to_speech/workers/environments/bootstrap.py) speech_to_speech/workers/environments/parler.txt
PASSED = tests/environments.passed
DIGEST = cat $(ENVIRONMENT_INPUTS) | sha256sum

test-environments: $(VENV)/.installed-dev  ## run the tests of tts parler in its environment, made first if it is not there (1.7 GB)
	@PARLER_ENVIRONMENTS=$(abspath $(VENV))/environments $(BIN)/python -m pytest tests/tts/test_parler.py
	@$(DIGEST) > $(PASSED)

test-environments-if-changed: $(VENV)/.installed-dev
	@if $(DIGEST) | cmp -s - $(PASSED); then \
		echo "SKIPPED: make test-environments (tts parler, for real): nothing that it depends on has changed since it passed, $$(cat $(PASSED))"; \
	else $(MAKE) --no-print-directory test-environments; fi

# The image of the embedded models, built without Docker and a registry: Debian's buildah, podman, runc and mmdebstrap.
test-image: $(VENV)/.installed-dev  ## build the image and talk to it, as root on Debian or Ubuntu (minutes)
	@TEST_IMAGE=1 $(BIN)/python -m pytest -s tests/deploy/test_image.py

test-image-if-possible:
	@if [ "$$(id -u)" = 0 ] && which buildah mmdebstrap podman runc >/dev/null 2>&1; then \
		$(MAKE) --no-print-directory test-image; \
	else echo "SKIPPED: make test-image: not root, or one of buildah, mmdebstrap, podman and runc is not installed, so no image was built"; fi

check: $(VENV)/.installed-dev  ## formatting, lint and types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/hadolint dockerfiles/*/Dockerfile
	@$(BIN)/shellcheck scripts/*.sh .ci/run

format: $(VENV)/.installed-dev  ## format the code, fix what lint can fix, write the generated tables of the docs
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .
	@$(BIN)/python scripts/doc_tables.py

# The image: `make image IMAGE=docker.io/me/speech-to-speech`, and the same IMAGE for push, run-image and endpoint.
# CPU=1 means the image that image-cpu makes. docs/deploy.md explains the rest.
DOCKER ?= docker
IMAGE ?= speech-to-speech
EXTRAS ?= $(if $(CPU),embedded,l4,mp3,openai,quantized)
ENVIRONMENTS ?= $(if $(CPU),,melo)
GPUS ?= $(if $(CPU),,--gpus all)
LISTEN ?= 127.0.0.1:$(PORT)
IMAGE_PROFILE = $(if $(filter file,$(origin PROFILE)),$(if $(CPU),embedded,l4),$(PROFILE))
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
COMMIT = $(or $(shell git describe --always --exclude '*' 2>/dev/null),none)$(if $(shell git status --porcelain 2>/dev/null),-changed)
SUFFIX = $(if $(CPU),-cpu)
TAGS = $(COMMIT)$(SUFFIX) $(VERSION)$(SUFFIX)
COMMA := ,
# The command line has only the name of a secret's variable, or the secret's file.
BUILD = $(DOCKER) build --platform linux/amd64 -f dockerfiles/pytorch/Dockerfile --build-arg PROFILE=$(IMAGE_PROFILE) \
	$(foreach name,BASE_IMAGE EXTRAS ENVIRONMENTS BAKE_MODELS BAKE_OPTIONS TORCH_INDEX COMPILER,$(if $($(name)),--build-arg "$(name)=$($(name))")) \
	$(if $(HF_TOKEN),--secret id=hf_token$(COMMA)env=HF_TOKEN) $(if $(CA),--secret "id=ca$(COMMA)src=$(CA)") \
	$(foreach tag,$(TAGS) latest$(SUFFIX),-t $(IMAGE):$(tag)) .
CHECK = case "$(IMAGE)" in *[A-Z]*) echo "IMAGE=$(IMAGE): in lower case, please"; exit 2 ;; esac; \
	$(PYTHON) scripts/check_build_arguments.py "EXTRAS=$(EXTRAS)" "ENVIRONMENTS=$(ENVIRONMENTS)" "PROFILE=$(IMAGE_PROFILE)" "BAKE_MODELS=$(BAKE_MODELS)"
# A container takes these variables from the environment that make runs in.
PASSED_ON = $(filter-out S2S_HOST S2S_PORT,$(filter S2S_% HF_TOKEN OPENAI_API_KEY REPOSITORY CHAT_SIZE LM_MODEL_NAME ASR_MODEL LLM_MODEL TTS_MODEL,$(.VARIABLES))) \
	$(if $(filter file,$(origin PROFILE)),,PROFILE)

image:  ## build the image for a GPU: make image IMAGE=docker.io/me/speech-to-speech
	@$(CHECK)
	$(BUILD)

image-cpu: CPU := 1
image-cpu:  ## build the image of the embedded models, which needs no GPU
	@$(CHECK)
	$(BUILD)

push:  ## push the image that was built (log in first)
	@case "$(COMMIT)" in *-changed) git status --short; echo "these changes are not committed: commit them, or put new files elsewhere, then make the image and push"; exit 2 ;; esac
	@set -- $$($(DOCKER) image inspect --format '{{.Id}}' $(foreach tag,$(TAGS),$(IMAGE):$(tag)) 2>/dev/null); [ $$# = 2 ] && [ "$$1" = "$$2" ] \
		|| { echo "there is no image of this commit: make image$(SUFFIX) IMAGE=$(IMAGE)"; exit 2; }
	@for tag in $(TAGS); do $(DOCKER) push $(IMAGE):$$tag \
		|| { echo "$(IMAGE):$$tag was not pushed (see above): log in ($(DOCKER) login), and name a repository that you may write to: IMAGE=REGISTRY/YOU/NAME"; exit 2; }; done

run-image:  ## run the image that was built: PORT=8000 make run-image, or CPU=1 make run-image
	@$(DOCKER) image inspect $(IMAGE):$(VERSION)$(SUFFIX) >/dev/null 2>&1 \
		|| { echo "there is no image $(IMAGE):$(VERSION)$(SUFFIX) here: make image$(SUFFIX) IMAGE=$(IMAGE)"; exit 2; }
	@echo "the service will be at http://$(LISTEN)"
	@$(DOCKER) run --rm -p $(LISTEN):80 --sysctl net.ipv4.ip_unprivileged_port_start=0 --stop-timeout 60 \
		--read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \
		$(GPUS) -v speech-to-speech-cache:/cache $(foreach name,$(PASSED_ON),-e $(name)) $(IMAGE):$(VERSION)$(SUFFIX) $(ARGS)

endpoint: install-endpoint  ## create a Hugging Face Inference Endpoint: make endpoint NAME=my-endpoint IMAGE=docker.io/me/speech-to-speech
	@test -n "$(NAME)" || { echo "name it: make endpoint NAME=my-endpoint IMAGE=docker.io/me/speech-to-speech"; exit 2; }
	@$(BIN)/python scripts/create_endpoint.py create $(NAME) --image $(IMAGE):$(VERSION)$(SUFFIX) --profile $(IMAGE_PROFILE) \
		$(if $(CPU),--accelerator cpu --instance-type intel-spr --instance-size x2) --wait $(ARGS)

bench: $(VENV)/.installed-dev  ## measure latency, capacity, memory and start-up time
	@$(BIN)/python -m benchmarks

clean:  ## remove the virtual environment, the demo's files and all caches
	rm -rf $(VENV) demo build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
