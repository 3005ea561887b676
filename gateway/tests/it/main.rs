//! The gateway through its front door: on librdkafka's mock cluster, the sandbox's registry and an
//! order store in a temporary folder.

mod access_log;
mod answers;
mod cors;
mod deadlines;
mod hostile;
mod house;
mod http;
mod http2;
mod lifecycle;
mod placing;
mod projector;
mod rates;
mod raw;
mod reading;
mod sockets;
mod updates;
mod ws_client;
