# The trader without a Python of your own; deploy/compose.yaml runs it for good, this builds and tries it:
#
#   docker build -t ml-paper-trader .
#   docker run --rm ml-paper-trader --days 1                        the simulated market
#   docker run --rm --env-file .env -v ml-paper-trader:/trading ml-paper-trader --market alpaca --check
#
# Keys come from the environment of a container and are in no layer: .dockerignore lets nothing but the program through.
# Checked without a docker daemon: these steps were done by hand in a folder of their own (the files that .dockerignore
# lets through, a new environment with the hashes of the lock, another user), and run. tests/test_deploy.py holds the rest.

FROM python:3.11-slim-bookworm AS packages
COPY requirements.lock .
# Every package of the lock is there as a wheel for this system: nothing is compiled, and no compiler is needed.
RUN python -m venv --without-pip /venv \
    && python -m pip --python /venv/bin/python install --no-cache-dir --only-binary :all: --require-hashes \
        -r requirements.lock \
    && find /venv -type d -name tests -prune -exec rm -rf {} +

FROM python:3.11-slim-bookworm
# A fixed number, so that a volume keeps its owner from image to image.
RUN useradd --uid 10001 --no-create-home --home-dir /trading trader \
    && mkdir /trading && chown trader:trader /trading
COPY --from=packages /venv /venv
WORKDIR /app
COPY *.py ./
COPY market market
COPY learning learning
COPY desk desk
COPY display display
# One volume, so that the models, their key and what is archived stay together.
ENV PATH=/venv/bin:$PATH \
    DATA_DIR=/trading/data \
    MODELS_DIR=/trading/models \
    STATE_DIR=/trading/state
USER trader
VOLUME /trading
# As Ctrl-C. SIGTERM, docker's own choice, is an operator's emergency here: it halts until --resume.
STOPSIGNAL SIGINT
# A sign of life comes every minute; the evening's data set may take several.
HEALTHCHECK --interval=1m --timeout=10s --start-period=5m CMD ["python", "sign_of_life.py"]
ENTRYPOINT ["python", "live_trader.py"]
