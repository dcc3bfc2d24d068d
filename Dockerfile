# docker build -t framehouse .                                 for `serve` (everything in one), `api` and `worker`
# docker build -t framehouse:diffusers --target diffusers .    the same with torch, for the engine diffusers
# docs/deploy.md explains how to run the image.

# To pin the base image to the byte, add its digest: --build-arg PYTHON=3.13-slim-trixie@sha256:…
ARG PYTHON=3.13-slim-trixie

FROM python:${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY requirements-build.lock requirements-runtime.lock ./
# pyvips is the only package without a wheel; without a compiler it is built as pure Python
RUN pip install --require-hashes --only-binary :all: -r requirements-build.lock \
    && pip wheel --require-hashes --no-deps --only-binary :all: --no-binary pyvips --no-build-isolation \
        -w /wheels -r requirements-runtime.lock
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY src ./src
COPY clients/python ./clients/python
RUN pip wheel --no-deps --no-build-isolation -w /wheels . ./clients/python \
    && python -m venv --without-pip /opt/framehouse \
    && pip --python /opt/framehouse/bin/python install --no-index --no-deps /wheels/*.whl \
    && pip --python /opt/framehouse/bin/python check

FROM build AS build-diffusers
COPY requirements-diffusers.txt ./
RUN pip --python /opt/framehouse/bin/python install --only-binary :all: -r requirements-diffusers.txt

FROM python:${PYTHON} AS runtime
# PostgreSQL requires a user name for the user id. A new volume gets the owner of /data.
RUN useradd --no-log-init --uid 10001 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin framehouse \
    && install -d -o 10001 -g 10001 -m 0700 /data
ENV PATH=/opt/framehouse/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    FRAMEHOUSE_DATA_DIR=/data \
    FRAMEHOUSE_HOST=0.0.0.0
WORKDIR /data
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-c", "import os, urllib.request as u; u.build_opener(u.ProxyHandler({})).open('http://127.0.0.1:' + os.environ.get('FRAMEHOUSE_PORT', '8000') + '/healthz', timeout=4)"]
ENTRYPOINT ["framehouse"]
CMD ["serve"]
ARG VERSION=unreleased
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Framehouse" \
      org.opencontainers.image.description="A self-hosted server for the omni-image task API" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

FROM runtime AS diffusers
ENV HF_HOME=/data/huggingface
COPY --from=build-diffusers /opt/framehouse /opt/framehouse

FROM runtime AS framehouse
COPY --from=build /opt/framehouse /opt/framehouse
