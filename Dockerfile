# docker build -t unrolled --build-arg TORCH_INDEX=ADDRESS . && docker run -p 7860:7860 unrolled
FROM python:3.12-slim-bookworm

# The Hub's cache is there from the start: a volume that is mounted on it then belongs to the reader, too.
RUN useradd --uid 1000 --create-home reader \
    && install --directory --owner=reader /home/reader/.cache /home/reader/.cache/huggingface
WORKDIR /app

# The address of PyTorch's CPU builds saves the gigabytes of CUDA; without it torch comes from where all else comes from.
ARG TORCH_INDEX=""
COPY requirements.txt constraints.txt ./
RUN pip install --no-cache-dir --no-deps --constraint constraints.txt \
        ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch \
    && pip install --no-cache-dir --constraint constraints.txt --requirement requirements.txt

COPY app.py LICENSE ./
COPY model/ model/
COPY lens/ lens/
COPY viewer/ viewer/
COPY benchmarks/notebook.json benchmarks/

# By number, so that a host which forbids root can tell that this is not root.
USER 1000
ENV GRADIO_SERVER_NAME=0.0.0.0 \
    GRADIO_SERVER_PORT=7860
EXPOSE 7860

# The page itself, past a proxy that the environment may name.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s \
    CMD ["python", "-c", "import os, urllib.request as u; u.build_opener(u.ProxyHandler({})).open(f\"http://127.0.0.1:{os.environ['GRADIO_SERVER_PORT']}/\", timeout=8)"]

# The first process of a container ignores SIGTERM; Python takes SIGINT as Ctrl-C and ends at once.
STOPSIGNAL SIGINT
CMD ["python", "app.py"]
