# Short names for the commands of this repository. `just` lists them.

_list:
    @just --list --unsorted

# Everything in one process, on the sandbox
up *ARGS:
    cargo run -- up {{ARGS}}

# What has to pass before a change lands: format, lints, documentation, tests
verify:
    .ci/run

# The whole test suite
test *ARGS:
    cargo test --workspace {{ARGS}}

# The documentation of all crates, as HTML
doc *ARGS:
    cargo doc --workspace --no-deps --document-private-items {{ARGS}}

# Figures against bare librdkafka; `just bench gateway --help`
bench *ARGS:
    cargo run --release -- bench {{ARGS}}

# Faults at full size, on a real Kafka
chaos *ARGS:
    tests/chaos/run {{ARGS}}
