# docker build --tag seq2seq .
# docker run --rm --volume "$PWD/runs:/app/runs" seq2seq                   # make train
# docker run --rm seq2seq make test
# docker run --rm --volume "$PWD/runs:/app/runs" seq2seq python train.py attention=local seed=2
# For GPUs: docker build --build-arg TORCH_BACKEND=cu130 ..., then docker run --gpus all ...
FROM python:3.11-slim

# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/* \
    && pip install --no-cache-dir uv==0.13.9

# The build of torch: cpu, or that of a version of CUDA.
ARG TORCH_BACKEND=cpu
ENV TORCH_ARGS=--torch-backend=$TORCH_BACKEND UV_NO_CACHE=1 UV_LINK_MODE=copy WANDB_MODE=offline PATH=/app/.venv/bin:$PATH
WORKDIR /app
COPY . .
RUN make setup
CMD ["make", "train"]
