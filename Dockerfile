# gigafcn with CUDA: torch's ordinary wheel for Linux brings its own CUDA libraries, so a slim
# Python image and a driver on the host are enough.
#
#   docker build -t gigafcn .
#   docker run --rm --gpus all -v "$PWD:/data" gigafcn infer slide.svs
#
# For a much smaller image without CUDA, build with --build-arg PIP_INDEX_URL set to torch's index
# of CPU wheels and PIP_EXTRA_INDEX_URL to your usual index.
FROM python:3.11-slim

ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

WORKDIR /opt/gigafcn

# The constraints hold the versions that were tested; they install nothing by themselves, so the
# developers' tools they name stay out. torch comes first and alone: its layer is by far the
# largest and is rebuilt only when the constraints change.
COPY constraints.txt ./
RUN pip install -c constraints.txt torch

COPY pyproject.toml README.md LICENSE ./
COPY gigafcn ./gigafcn
COPY configs ./configs
RUN pip install -c constraints.txt .

# Maps belong to whoever runs the container: add --user "$(id -u):$(id -g)" to write to a mount.
RUN useradd --create-home --uid 1000 gigafcn
USER gigafcn
WORKDIR /data
ENV MPLCONFIGDIR=/tmp/matplotlib

ENTRYPOINT ["gigafcn"]
CMD ["--help"]
