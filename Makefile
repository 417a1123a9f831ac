# Every target brings the set-up up to date first. PYTHON=... chooses the Python (3.10 to 3.13).
PYTHON ?= python3
RUN := .venv/bin/python
PYTEST := $(RUN) -m pytest -n auto --dist loadfile --no-loadscope-reorder

ifdef ROS_DISTRO  # an apt ROS 2 is sourced: it finds our interfaces' libraries as those of any overlay
export LD_LIBRARY_PATH := $(CURDIR)/.venv/lib:$(LD_LIBRARY_PATH)
endif

.PHONY: demo console test test-fast test-deep lint soak bench gpu gpu-wheels setup setup-demo

demo: setup-demo  ## track a face in a video over ROS 2; VIDEO=file BOX=x,y,w,h for your own
	$(RUN) -m siamffn_ros.demo $(if $(VIDEO),--video '$(VIDEO)') $(if $(BOX),--init '$(BOX)')

console: setup-demo  ## the operator's console on the demo video; SOURCE=video, folder, camera or rtsp://...
	$(RUN) -m siamffn_model console $(if $(SOURCE),'$(SOURCE)',"$$($(RUN) -c 'from siamffn_ros.demo import find_video; print(find_video())')")

test: setup  ## all tests, in one process per core
	$(PYTEST)

test-fast: setup  ## the tests without the markers slow and ros
	$(PYTEST) -m 'not slow and not ros'

test-deep: setup  ## all tests, with many more examples in the property tests
	HYPOTHESIS_PROFILE=deep $(PYTEST)

lint: setup  ## rules, formatting and types
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
	$(RUN) -m mypy

soak: setup  ## ten minutes of random requests and images for the node
	SIAMFFN_SOAK_SECONDS=600 $(RUN) -m pytest -s test/ros/node/test_soak.py

bench: setup  ## speed beside the baselines, as a new section of docs/performance.md; overhead of evaluation and node
	$(RUN) -m siamffn_model benchmark --report docs/performance.md
	$(RUN) -m siamffn_model.benchmarking.evaluation_overhead
	$(RUN) -m siamffn_ros.benchmark

gpu: setup  ## tests, speed and training on a GPU in ten minutes; DEVICE=cpu MINUTES=3 without one
	$(RUN) scripts/gpu_run.py --out out/gpu $(if $(MINUTES),--minutes $(MINUTES)) $(if $(DEVICE),--device $(DEVICE))

gpu-wheels: setup  ## the packages that a machine with only PyTorch needs for scripts/gpu_run.py
	$(RUN) -m pip download --quiet --no-deps --only-binary=:all: --dest out/wheels \
	  --requirement scripts/gpu_wheels.txt --constraint constraints.txt --python-version 3.12 \
	  --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 \
	  --platform manylinux2014_x86_64 --platform manylinux2010_x86_64

setup: SETUP_OPTIONS = --all

setup setup-demo:
	@command -v $(PYTHON) >/dev/null || { echo "set-up stopped: there is no $(PYTHON) here."; \
	  echo "Debian, Ubuntu: sudo apt-get install python3 python3-venv python3-dev"; \
	  echo "With another Python (3.10 to 3.13): make PYTHON=/path/to/python3 ..."; exit 1; }
	@$(PYTHON) scripts/setup.py $(SETUP_OPTIONS)
