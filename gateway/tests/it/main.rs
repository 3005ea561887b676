//! The gateway through its front door: on librdkafka's mock cluster, the sandbox's registry and an
//! order store in a temporary folder.

mod access_log;
mod answers;
mod changing;
mod cors;
mod deadlines;
mod documents;
mod events;
mod hostile;
mod house;
mod http;
mod http2;
mod introspection;
mod issuer;
mod keys;
mod lifecycle;
mod outsiders;
mod persisted;
mod placing;
mod projector;
mod rates;
mod raw;
mod reading;
mod shares;
mod sockets;
mod strangers;
mod tokens;
mod updates;
mod webhook;
mod ws_client;
