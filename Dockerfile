# One image for every component. Two stages: wheels are built with pip's cache and thrown away with it.
FROM python:3.12.8-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/vigil
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY schemas ./schemas
COPY features ./features
COPY detectors ./detectors
COPY streams ./streams
COPY vigil ./vigil
COPY models ./models
# No torch: ONNX Runtime and XGBoost score, training is elsewhere.
RUN /opt/vigil/bin/pip install --no-cache-dir --constraint constraints.txt '.[alerts]'

FROM python:3.12.8-slim-bookworm
# XGBoost needs OpenMP's runtime.
RUN apt-get update \
 && apt-get install -y --no-install-recommends libgomp1 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --home-dir /nonexistent --shell /usr/sbin/nologin vigil
COPY --from=build /opt/vigil /opt/vigil
ENV PATH=/opt/vigil/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 10001
ENTRYPOINT ["vigil"]
CMD ["worker"]
