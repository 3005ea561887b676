//! The gateway through its front door: on librdkafka's mock cluster, the sandbox's registry and an
//! order store in a temporary folder.

mod changing;
mod hostile;
mod house;
mod http;
mod lifecycle;
mod placing;
mod projector;
mod reading;
mod sockets;
mod updates;
mod ws_client;
