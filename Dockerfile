# Two stages: `build` makes a virtual environment from locked packages and our wheel; the image has that and
# Python, no compiler, no pip cache, no tests.
#
#   docker build -t cdc-sync --build-arg REVISION="$(git rev-parse HEAD)" .
#   docker run --read-only --cap-drop=ALL -p 9464:9464 --env-file settings.env cdc-sync
#
# Nothing is written to the file system. Give `docker stop` (or a pod) 30 s: what was read is written first.

ARG PYTHON=python:3.11.13-slim-bookworm

FROM ${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src

# The tools that make the wheel, in an environment of their own.
COPY requirements/build.lock requirements/
RUN python -m venv /build && /build/bin/pip install --require-hashes -r requirements/build.lock

# The packages that run: this layer changes only with the lock file. `--build-arg LOCK=dispatcher` adds those of
# the attached dispatcher.
ARG LOCK=runtime
COPY requirements/runtime.lock requirements/dispatcher.lock requirements/
RUN python -m venv /opt/cdc-sync \
 && /opt/cdc-sync/bin/pip install --require-hashes --only-binary=:all: -r requirements/${LOCK}.lock

COPY pyproject.toml README.md ./
COPY cdc_sync cdc_sync
RUN /build/bin/hatchling build -t wheel -d /dist \
 && /opt/cdc-sync/bin/pip install --no-deps --no-index /dist/*.whl \
 && /opt/cdc-sync/bin/pip check \
 && /opt/cdc-sync/bin/pip uninstall --yes pip setuptools \
 && python -m compileall -q --invalidation-mode unchecked-hash /opt/cdc-sync/lib

FROM ${PYTHON}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="cdc-sync" \
      org.opencontainers.image.description="Keeps Typesense in step with PostgreSQL through Debezium and Kafka" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="LicenseRef-Proprietary"

ENV PATH=/opt/cdc-sync/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
COPY --from=build /opt/cdc-sync /opt/cdc-sync

# Where `.env` is looked for; empty.
WORKDIR /app
# A number, so that Kubernetes can tell that it is not root (runAsNonRoot).
USER 10001:10001
EXPOSE 9464

# Alive, not ready: a restart does not bring Typesense back. Where the port is set in a file instead of
# CDC_SYNC_HTTP__PORT, or the host is not 0.0.0.0 or 127.0.0.1, give a health check of your own.
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('CDC_SYNC_HTTP__PORT', '9464')), timeout=4); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]

ENTRYPOINT ["cdc-sync"]
CMD ["run"]
