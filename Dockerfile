# tfrecon as a command, from the wheel of this checkout.
#
#     docker build -t tfrecon .
#     docker build -t tfrecon:gpu --build-arg EXTRA=gpu .
#     docker run --rm -v "$PWD":/work tfrecon reconstruct photo.jpg -o restored.png
#     docker run --rm --gpus all -v "$PWD":/work tfrecon:gpu doctor
#
# CUDA's libraries come with the extra gpu; the driver is the host's, by NVIDIA's container toolkit.

FROM python:3.12-slim AS wheel
WORKDIR /source
COPY . .
RUN pip wheel -q --no-deps -w /wheels .

FROM python:3.12-slim
ARG EXTRA=""
COPY --from=wheel /wheels /wheels
RUN pip install -q --no-cache-dir "$(ls /wheels/tfrecon-*.whl)${EXTRA:+[$EXTRA]}"
RUN tfrecon --version
# What is written lies in the mounted folder; caches in a volume, where one is mounted at /cache.
ENV XDG_CACHE_HOME=/cache HOME=/tmp NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /work
ENTRYPOINT ["tfrecon"]
CMD ["--help"]
