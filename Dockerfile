# syntax=docker/dockerfile:1

# ---- build: what scripts/dist builds (thin LTO, laid out by profile/, stripped) ----
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends build-essential clang libclang-dev pkg-config libssl-dev zlib1g-dev xz-utils \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The script gets the clang that goes with rustc, if Debian has it.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/target \
    keld=$(CARGO_TARGET_DIR=/target scripts/dist) \
 && install -D -m 0755 "$keld" /out/keld

# ---- run ----
FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates libssl3 libstdc++6 zlib1g \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --system --gid 10001 keld \
 && useradd --system --uid 10001 --gid keld --home-dir /var/lib/keld --create-home keld
COPY --from=build /out/keld /usr/local/bin/keld
COPY config/keld.toml config/catalog.toml config/flights.toml /etc/keld/
COPY LICENSE /usr/share/doc/keld/LICENSE
# By number, so that an orchestrator can see that it is not root.
USER 10001:10001
# On Kafka, KELD_INSTANCE__ADVERTISE has to say where clients and other instances reach this one.
WORKDIR /var/lib/keld
ENV KELD_CONFIG=/etc/keld/keld.toml \
    KELD_INSTANCE__DATA_DIR=/var/lib/keld/state \
    KELD_INSTANCE__LISTEN=0.0.0.0:7070 \
    KELD_LOG_FORMAT=json
# Nothing is written elsewhere: the rest may be read-only.
VOLUME /var/lib/keld
EXPOSE 7070
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 CMD ["keld", "health"]
ENTRYPOINT ["keld"]
CMD ["run"]
