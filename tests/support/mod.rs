//! What the tests of the running server stand on: the real binary, real receivers, a plain client, and a checker
//! that believes only what it saw from outside.

pub(crate) mod api;
pub(crate) mod checker;
pub(crate) mod dns;
pub(crate) mod farm;
pub(crate) mod files;
pub(crate) mod http1;
pub(crate) mod mail;
pub(crate) mod make;
pub(crate) mod openapi;
pub(crate) mod program;
pub(crate) mod receiver;
pub(crate) mod server;
pub(crate) mod tls;
pub(crate) mod wait;

pub(crate) use self::{
    api::{Answer, Api},
    farm::{Addresses, Farm},
    files::files,
    openapi::Document,
    receiver::{Received, Receiver, Reply},
    server::TestServer,
    wait::{eventually, within},
};
