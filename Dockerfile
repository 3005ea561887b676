# syntax=docker/dockerfile:1

FROM rust:1.95-slim-bookworm AS build
# What librdkafka is built with: a C++ compiler, make, OpenSSL's headers.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ libssl-dev make pkg-config python3 \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin comanda \
    && install -D target/release/comanda /out/comanda

FROM debian:bookworm-slim
# curl asks /readyz in health checks.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates curl libssl3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home comanda \
    && install --directory --owner=comanda /data
COPY --from=build /out/comanda /usr/local/bin/comanda
USER comanda
# The order store, where it is SQLite.
VOLUME /data
ENTRYPOINT ["comanda"]
