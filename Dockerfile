# One image for every process of Batchwright; docker-compose.yml says which one it becomes.
# Servers are not in it: Redis and MongoDB run beside it.

FROM python:3.13-slim AS packages
COPY deploy/requirements-image.lock /tmp/requirements.lock
# Wheels with known hashes only: the build needs no compiler, and nothing runs while it installs.
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv/bin/python install --quiet --require-hashes --no-deps \
        --only-binary ':all:' -r /tmp/requirements.lock

FROM python:3.13-slim
RUN useradd --uid 10001 --create-home batchwright \
    && mkdir /data \
    && chown batchwright /data
COPY --from=packages /opt/venv /opt/venv
WORKDIR /opt/batchwright
COPY LICENSE ./
COPY config ./config
COPY workers ./workers
COPY app ./app
COPY batchwright ./batchwright
RUN python -m compileall -q . \
    && printf '#!/bin/sh\nexec python -m app.cli.main "$@"\n' > /usr/local/bin/batchwright \
    && chmod 755 /usr/local/bin/batchwright
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/batchwright \
    PYTHONUNBUFFERED=1 \
    BATCHWRIGHT_DATA_DIR=/data \
    BATCHWRIGHT_LOG_JSON=true
USER batchwright
VOLUME /data
EXPOSE 8000
CMD ["python", "-m", "app.api", "--host", "0.0.0.0", "--port", "8000"]
