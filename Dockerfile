# The system in one image; what a container does is its command (docker-compose.yml).
# The build stage installs exactly what requirements.lock names, by hash; the final stage has no build tools.

FROM python:3.11-slim AS build
WORKDIR /build
COPY pyproject.toml requirements.lock image/runtime_requirements.py ./
RUN python -m venv /opt/intoaec \
    && python runtime_requirements.py . > runtime.txt \
    && /opt/intoaec/bin/python -m pip install --no-cache-dir --disable-pip-version-check \
       --only-binary :all: --no-deps --require-hashes --requirement runtime.txt \
    && /opt/intoaec/bin/python -m pip uninstall --quiet --yes setuptools pip
COPY schemas /opt/intoaec/app/schemas
COPY connectors /opt/intoaec/app/connectors
COPY streams /opt/intoaec/app/streams
RUN printf '#!/opt/intoaec/bin/python\nfrom streams.cli import main\n\nmain()\n' > /opt/intoaec/bin/intoaec \
    && chmod 0755 /opt/intoaec/bin/intoaec \
    && /opt/intoaec/bin/python -m compileall -q /opt/intoaec/app /opt/intoaec/lib

FROM python:3.11-slim
ARG BUILD=dev
RUN groupadd --gid 10001 intoaec \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin intoaec \
    && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/intoaec /var/lib/simulator
COPY --from=build /opt/intoaec /opt/intoaec
ENV PATH=/opt/intoaec/bin:$PATH \
    PYTHONPATH=/opt/intoaec/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    BUILD=$BUILD
USER 10001:10001
WORKDIR /var/lib/intoaec
CMD ["intoaec", "--help"]
