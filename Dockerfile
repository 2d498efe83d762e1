# Trimtab's three images: `stage` (training, one image for all stages), `server`, `monitor` (watch, hook, submission).
#
#   make images                      all three into the local daemon, tagged by their content
#   make images REGISTRY=… WHEELS=…  pushed, the stage image printed by digest
#
# The labels of version and revision come from there: as arguments they would make layers anew that did not change.
# No `# syntax=` line: it would pull a front end. Secrets `ca` (a CA bundle) and `pip` (pip's configuration) are
# optional, for networks that need them; docs/images.md has every argument.

# Python 3.11 on Debian bookworm, by digest. Any image with python3, its venv module and ca-certificates will do.
ARG BASE=python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

# --- What every image starts from: no pip, nothing setuid, a numeric user, an empty virtual environment. ---------------
FROM ${BASE} AS runtime
LABEL org.opencontainers.image.licenses="Apache-2.0"
RUN python3 -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
 && python3 -m venv --without-pip /opt/trimtab \
 && rm -f /usr/local/bin/pip* /usr/local/bin/idle* /usr/local/bin/wheel \
 && rm -rf /usr/local/lib/python3.11/site-packages/* /usr/local/lib/python3.11/ensurepip /usr/lib/python3.11/ensurepip \
           /usr/local/lib/python3.11/test /usr/share/python-wheels /usr/lib/python3/dist-packages/pip* \
 && find / -xdev -type f -perm /6000 -exec chmod a-s {} + \
 && printf 'trimtab:x:10001:10001:trimtab:/tmp:/usr/sbin/nologin\n' >> /etc/passwd \
 && printf 'trimtab:x:10001:\n' >> /etc/group
# Everything that a library might write at run time goes below /tmp: the root file system may be read-only.
ENV PATH=/opt/trimtab/bin:/usr/local/bin:/usr/bin:/bin \
    LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    TMPDIR=/tmp \
    TRIMTAB_HOME=/tmp/trimtab \
    XDG_CACHE_HOME=/tmp/.cache \
    XDG_CONFIG_HOME=/tmp/.config \
    MPLCONFIGDIR=/tmp/.cache/matplotlib \
    DO_NOT_TRACK=1

# --- Tools of the build, none of which reaches an image: pip, hatchling, CycloneDX. -------------------------------------
FROM ${BASE} AS tools
COPY manifests/images/tools.txt /src/tools.txt
RUN --mount=type=secret,id=ca --mount=type=secret,id=pip --mount=type=cache,target=/root/.cache/pip \
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi; \
    if [ -s /run/secrets/pip ]; then export PIP_CONFIG_FILE=/run/secrets/pip; fi; \
    python3 -m venv /opt/build \
 && /opt/build/bin/python -m pip install --quiet --disable-pip-version-check -r /src/tools.txt
ENV PATH=/opt/build/bin:/usr/local/bin:/usr/bin:/bin

# --- What each image installs, from pyproject.toml: a layer changes only when its own list does. ------------------------
FROM tools AS lists
COPY pyproject.toml constraints.txt manifests/images/requirements.py /src/
RUN for image in torch stage server monitor; do \
      mkdir -p /lists/$image && cp /src/constraints.txt /lists/$image/ \
      && python /src/requirements.py $image /src/pyproject.toml > /lists/$image/requirements.txt || exit 1; done

FROM tools AS wheels
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY examples/digits/project.yaml examples/digits/project.yaml
COPY components components
COPY pipelines pipelines
COPY serving serving
COPY monitoring monitoring
RUN python -m hatchling build -t wheel -d /wheels

# --- Dependencies, one layer each, straight into the image: a copy from another stage would take the disk twice. --------
FROM runtime AS server-libraries
RUN --mount=type=secret,id=ca --mount=type=secret,id=pip --mount=type=cache,target=/root/.cache/pip \
    --mount=type=bind,from=tools,source=/opt/build,target=/opt/build \
    --mount=type=bind,source=manifests/images/libraries,target=/steps \
    --mount=type=bind,from=lists,source=/lists/server,target=/list \
    sh /steps/install server /list/requirements.txt

FROM runtime AS monitor-libraries
RUN --mount=type=secret,id=ca --mount=type=secret,id=pip --mount=type=cache,target=/root/.cache/pip \
    --mount=type=bind,from=tools,source=/opt/build,target=/opt/build \
    --mount=type=bind,source=manifests/images/libraries,target=/steps \
    --mount=type=bind,from=lists,source=/lists/monitor,target=/list \
    sh /steps/install monitor /list/requirements.txt

FROM scratch AS torch-wheels
COPY manifests/images/wheels/README.md manifests/images/wheels/torch-*.whl /

# torch by itself, with what it brings: five sixths of the stage image, and it changes least. TORCH_INDEX names an index
# that has the CPU build; a wheel torch-*.whl in manifests/images/wheels/ does as well. By default it is the CUDA build,
# which runs with and without a GPU.
FROM runtime AS torch
ARG TORCH_INDEX=
RUN --mount=type=secret,id=ca --mount=type=secret,id=pip --mount=type=cache,target=/root/.cache/pip \
    --mount=type=bind,from=tools,source=/opt/build,target=/opt/build \
    --mount=type=bind,source=manifests/images/libraries,target=/steps \
    --mount=type=bind,from=lists,source=/lists/torch,target=/list \
    --mount=type=bind,from=torch-wheels,target=/wheels \
    sh /steps/install torch /list/requirements.txt --find-links /wheels ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"}

FROM torch AS stage-libraries
RUN --mount=type=secret,id=ca --mount=type=secret,id=pip --mount=type=cache,target=/root/.cache/pip \
    --mount=type=bind,from=tools,source=/opt/build,target=/opt/build \
    --mount=type=bind,source=manifests/images/libraries,target=/steps \
    --mount=type=bind,from=lists,source=/lists/stage,target=/list \
    sh /steps/install stage /list/requirements.txt

# --- The images: our own wheel last, so that a change of code builds one small layer. -----------------------------------
FROM server-libraries AS server
RUN --mount=type=bind,from=tools,source=/opt/build,target=/opt/build \
    --mount=type=bind,from=wheels,source=/wheels,target=/wheels \
    --mount=type=bind,source=manifests/images/own,target=/steps \
    sh /steps/install server /wheels
LABEL org.opencontainers.image.title="trimtab-server" \
      org.opencontainers.image.description="Trimtab's model server: KServe's V1 and V2 REST protocol"
USER 10001:10001
WORKDIR /tmp
EXPOSE 8080 9091
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["python3", "/usr/share/trimtab/health.py", "8080/v2/health/ready"]
ENTRYPOINT ["trimtab", "serve"]
CMD ["--host", "0.0.0.0"]

FROM monitor-libraries AS monitor
RUN --mount=type=bind,from=tools,source=/opt/build,target=/opt/build \
    --mount=type=bind,from=wheels,source=/wheels,target=/wheels \
    --mount=type=bind,source=manifests/images/own,target=/steps \
    sh /steps/install monitor /wheels
LABEL org.opencontainers.image.title="trimtab-monitor" \
      org.opencontainers.image.description="Trimtab's watch, retrain hook and commands"
USER 10001:10001
WORKDIR /tmp
EXPOSE 8090 9092 9095
# The watch answers on 9092, the hook on 9095; one container runs one of them.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["python3", "/usr/share/trimtab/health.py", "9092/metrics", "9095/metrics"]
ENTRYPOINT ["trimtab"]
CMD ["--help"]

FROM stage-libraries AS stage
RUN --mount=type=secret,id=ca --mount=type=secret,id=pip --mount=type=cache,target=/root/.cache/pip \
    --mount=type=bind,from=tools,source=/opt/build,target=/opt/build \
    --mount=type=bind,from=wheels,source=/wheels,target=/wheels \
    --mount=type=bind,source=manifests/images/own,target=/steps \
    --mount=type=bind,source=manifests/images/wheels,target=/more \
    sh /steps/install stage /wheels /more
LABEL org.opencontainers.image.title="trimtab-stage" \
      org.opencontainers.image.description="Trimtab's pipeline stages"
USER 10001:10001
WORKDIR /tmp
# A stage ends; there is nothing to ask.
HEALTHCHECK NONE
CMD ["trimtab", "--help"]
