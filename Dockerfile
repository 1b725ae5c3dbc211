# syntax=docker/dockerfile:1
# The gateway as an image: everything from the lock, by hash; nothing of the build is left in it.
# docker build -t llm-gateway . ; docker run --read-only --tmpfs /tmp -p 8080:8080 llm-gateway

ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
# What the gateway imports, in an environment of its own. It changes seldom: a layer of its own, too.
COPY requirements/run.txt requirements/build.txt /src/requirements/
RUN python -m venv --without-pip /opt/gateway \
 && python -m pip --python /opt/gateway/bin/python install --no-deps --require-hashes --only-binary :all: -r /src/requirements/run.txt \
 && python -m venv /opt/build \
 && /opt/build/bin/python -m pip install --no-deps --require-hashes --only-binary :all: -r /src/requirements/build.txt
# The gateway itself: made into a wheel by the pinned build tools, outside of its environment.
COPY pyproject.toml README.md LICENSE /src/
COPY policies /src/policies
COPY gateway /src/gateway
RUN cd /src \
 && /opt/build/bin/python -m hatchling build -t wheel \
 && python -m pip --python /opt/gateway/bin/python install --no-deps --no-index dist/*.whl \
 && /opt/gateway/bin/python -m compileall -q /opt/gateway/lib
# What tokens are counted with: fetched here, checked by SHA-256, and never fetched by a running gateway.
# Another source (a mirror's https URL of a folder or .tgz): --build-arg RANKS=URL
ARG RANKS=openai
RUN /opt/gateway/bin/gateway tokenizers pull --from "${RANKS}" /opt/gateway/ranks \
 && /opt/gateway/bin/gateway tokenizers verify /opt/gateway/ranks

FROM python:${PYTHON}
LABEL org.opencontainers.image.title="llm-gateway" org.opencontainers.image.licenses="Apache-2.0"
# The base image's installer is a build tool as well.
RUN python -m pip uninstall --yes --root-user-action=ignore pip setuptools wheel \
 && rm -rf /usr/local/lib/python3.*/ensurepip
COPY --from=build /opt/gateway /opt/gateway
# Nothing is written but the log on stdout: the root file system may be read-only.
ENV PATH=/opt/gateway/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    GATEWAY_SERVER__HOST=0.0.0.0 \
    GATEWAY_HEALTH__HOST=0.0.0.0 \
    GATEWAY_TOKENS__RANKS=/opt/gateway/ranks
WORKDIR /tmp
# A number, so that Kubernetes can see that it is not root (runAsNonRoot).
USER 10001:10001
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
# No HEALTHCHECK: an orchestrator asks /livez, /readyz and /startupz on the health listener.
ENTRYPOINT ["gateway"]
CMD ["serve"]
