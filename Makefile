# Every target brings the set-up up to date first. PYTHON=... chooses the Python (3.10 to 3.13).
PYTHON ?= python3
RUN := .venv/bin/python
PYTEST := $(RUN) -m pytest -n auto --dist loadfile --no-loadscope-reorder

ifdef ROS_DISTRO  # an apt ROS 2 is sourced: it finds our interfaces' libraries as those of any overlay
export LD_LIBRARY_PATH := $(CURDIR)/.venv/lib:$(LD_LIBRARY_PATH)
endif

.PHONY: demo test test-fast test-deep lint soak bench setup

demo: setup  ## track a face in a video over ROS 2; VIDEO=file BOX=x,y,w,h for your own
	$(RUN) -m siamffn_ros.demo $(if $(VIDEO),--video '$(VIDEO)') $(if $(BOX),--init '$(BOX)')

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

setup:
	@command -v $(PYTHON) >/dev/null || { echo "set-up stopped: there is no $(PYTHON) here."; \
	  echo "Debian, Ubuntu: sudo apt-get install python3 python3-venv python3-dev"; \
	  echo "With another Python (3.10 to 3.13): make PYTHON=/path/to/python3 ..."; exit 1; }
	@$(PYTHON) scripts/setup.py
