# syntax=docker/dockerfile:1.7
# One image for every process of Batchwright; docker-compose.yml says which one it becomes. Servers are not in it.
# Two targets of the same code: `core`, and `audio` with the libraries that read and measure sound.
# The base names Python's minor version and Debian's release: `batchwright rebuild` fetches their newest patches.

FROM python:3.13-slim-trixie AS packages
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt,sharing=locked \
    apt-get update -qq && apt-get install -qq --yes --no-install-recommends binutils
COPY deploy/requirements-image.lock /build/core.lock
# Wheels with known hashes only: the build needs no compiler, and nothing runs while it installs.
# Some wheels carry their symbols for debuggers, 40 MB in all. Those beside bundled libraries are left as they are: their
# headers were moved by hand, which strip does not expect.
RUN --mount=type=cache,target=/root/.cache/pip,sharing=locked \
    python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv/bin/python install --quiet --require-hashes --no-deps \
        --only-binary ':all:' -r /build/core.lock \
    && find /opt/venv -name '*.so' -size +100k -exec strip --strip-unneeded '{}' +

FROM packages AS packages-audio
COPY deploy/requirements-audio.lock /build/audio.lock
RUN --mount=type=cache,target=/root/.cache/pip,sharing=locked \
    pip --python /opt/venv/bin/python install --quiet --require-hashes --no-deps \
        --only-binary ':all:' -r /build/audio.lock

FROM python:3.13-slim-trixie AS code
WORKDIR /opt/batchwright
COPY LICENSE ./
COPY config ./config
COPY workers ./workers
COPY app ./app
COPY batchwright ./batchwright
# The root is read-only later, and what is in it never changes: no look at a source's date.
RUN python -m compileall -q --invalidation-mode unchecked-hash .

FROM python:3.13-slim-trixie AS base
RUN useradd --uid 10001 --create-home batchwright \
    && mkdir /data \
    && chown batchwright /data \
    && printf '#!/bin/sh\nexec python -m app.cli.main "$@"\n' > /usr/local/bin/batchwright \
    && chmod 755 /usr/local/bin/batchwright
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/batchwright \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    BATCHWRIGHT_DATA_DIR=/data \
    BATCHWRIGHT_LOG_JSON=true
WORKDIR /opt/batchwright
# By number, so that a cluster can see that it is not root.
USER 10001
EXPOSE 8000
# No HEALTHCHECK: each role has one of its own in docker-compose.yml.
CMD ["python", "-m", "app.api", "--host", "0.0.0.0", "--port", "8000"]

FROM base AS audio
COPY --from=packages-audio /opt/venv /opt/venv
COPY --from=code /opt/batchwright /opt/batchwright

# Last, so that it is what a build without a target makes.
FROM base AS core
COPY --from=packages /opt/venv /opt/venv
COPY --from=code /opt/batchwright /opt/batchwright
