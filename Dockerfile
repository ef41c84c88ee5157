# syntax=docker/dockerfile:1
# Each step is a script or a plain copy, so that scripts/try_image.py can follow them without Docker.
FROM python:3.13-slim AS packages
COPY scripts/image/make-venv.sh requirements.txt /build/
RUN /build/make-venv.sh /venv /build/requirements.txt

FROM packages AS gateway
COPY scripts/image/install-gateway.sh /build/
COPY pyproject.toml README.md LICENSE /source/
COPY gateway_project /source/gateway_project
COPY relay /source/relay
RUN /build/install-gateway.sh /venv /source /gateway

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home gateway
WORKDIR /app
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# Nothing is written beside the code. Transcripts need a database that outlives the container: set GATEWAY__DATABASE_URL.
ENV GATEWAY__TRANSCRIPTS=false
COPY manage.py ./
COPY --from=packages /venv /venv
COPY --from=gateway /gateway /venv
USER gateway
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=2)"]
CMD ["agent-gateway", "serve", "--host", "0.0.0.0", "--port", "8000"]
