-- The second form of the store, beside the first (events, orders, positions), which stays as it is:
-- processes of the last build go on with it. What it has is copied in small transactions after this
-- (`unfinished`). \ and NUL in columns of text stand as \\ and \0; JSON escapes them anyway.

-- What was read from the topics, each event once, without the content of the order. Everything else
-- follows from it and from `contents`.
CREATE TABLE facts (
    order_id      uuid    NOT NULL,
    event_id      uuid    NOT NULL,
    kind          text    NOT NULL, -- order, payment, notification, payment_report
    happened      text    NOT NULL, -- as the timeline calls it
    version       integer,          -- of the order, where the event says it
    occurred_at   bigint  NOT NULL,
    topic         text    NOT NULL,
    partition_id  integer NOT NULL,
    record_offset bigint  NOT NULL,
    recorded_at   bigint  NOT NULL,
    customer_id   text,             -- NULL until the order's first event is there
    fingerprint   text,             -- of the request that placed the order
    content_id    uuid,             -- what the order contained, in `contents`
    step          text,             -- what the fold needs to know, as JSON
    body          text    NOT NULL, -- the event without the content, as JSON
    PRIMARY KEY (order_id, event_id)
);
CREATE INDEX facts_by_place ON facts (topic, partition_id, record_offset);
CREATE INDEX facts_by_customer ON facts (customer_id, topic, partition_id, record_offset)
    WHERE customer_id IS NOT NULL;
CREATE INDEX facts_without_customer ON facts (recorded_at) WHERE customer_id IS NULL;

-- What orders contained, each content once, under an id that follows from it.
CREATE TABLE contents (
    content_id  uuid NOT NULL PRIMARY KEY,
    order_id    uuid NOT NULL,
    search_text text NOT NULL,
    body        text NOT NULL
);

-- One row an order, folded from its facts: all that lists show, filter and sort by.
CREATE TABLE order_states (
    order_id       uuid   NOT NULL PRIMARY KEY,
    customer_id    text   NOT NULL,
    status         text   NOT NULL,
    payment_status text   NOT NULL,
    payment_id     text,
    placed_at      bigint NOT NULL,
    updated_at     bigint NOT NULL,
    waiting_since  bigint,
    content_id     uuid   NOT NULL,
    body           text   NOT NULL
);
CREATE INDEX states_by_time ON order_states (placed_at, order_id);
CREATE INDEX states_by_customer ON order_states (customer_id, placed_at, order_id);
CREATE INDEX states_by_status ON order_states (status, placed_at, order_id);
CREATE INDEX states_by_payment_status ON order_states (payment_status, placed_at, order_id);
CREATE INDEX states_by_update ON order_states (updated_at, order_id);
CREATE INDEX states_by_payment ON order_states (payment_id, placed_at, order_id)
    WHERE payment_id IS NOT NULL;
CREATE INDEX states_by_waiting ON order_states (waiting_since, order_id)
    WHERE waiting_since IS NOT NULL;

-- How far each partition has been applied; only ever grows.
CREATE TABLE applied_offsets (
    topic        text    NOT NULL,
    partition_id integer NOT NULL,
    next_offset  bigint  NOT NULL,
    PRIMARY KEY (topic, partition_id)
);

-- What is still to be done before this form can be read.
CREATE TABLE unfinished (task text NOT NULL PRIMARY KEY);
INSERT INTO unfinished SELECT 'copy events' WHERE EXISTS (SELECT 1 FROM positions);
