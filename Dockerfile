# The reading room of one run:
#   docker build --build-arg VERSION=0.2.0 --tag focusmap .
#   docker run --rm --publish 127.0.0.1:8000:8000 --env FOCUSMAP_TOKEN=TEXT --volume $PWD/runs/first:/run-folder focusmap
FROM python:3.11-slim
ARG VERSION=0.0.0
# What sheets are set with, Chinese letters among it.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 fonts-noto-cjk fontconfig \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
# A version comes from tags, which are not copied.
RUN SETUPTOOLS_SCM_PRETEND_VERSION=$VERSION pip install --no-cache-dir --constraint constraints.txt '.[web,dicom,pdf,export]' \
    && rm -rf /source
RUN useradd --create-home reader
USER reader
WORKDIR /home/reader
VOLUME /run-folder
EXPOSE 8000
HEALTHCHECK --start-period=90s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health')"]
# Others can reach it: FOCUSMAP_TOKEN must hold what a visitor has to know.
ENTRYPOINT ["focusmap", "serve", "/run-folder"]
CMD ["--host", "0.0.0.0"]
