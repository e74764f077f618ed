//! The door: where callers come in. Its address is taken before the engine starts and opened behind it, so that the
//! engine knows which port is its own before it delivers anything (URL.11), and nobody is let in before it is ready.

use anyhow::Context as _;
use std::{
    io,
    net::{SocketAddr, TcpListener},
};
use tokio::net::TcpSocket;

/// Connections that wait to be accepted.
const WAITING_MAX: u32 = 1_024;

/// An address that is taken; nobody is let in yet.
pub(crate) struct Door {
    socket: TcpSocket,
    /// Where it is.
    pub(crate) address: SocketAddr,
}

impl Door {
    /// Takes an address; port 0 takes any.
    pub(crate) fn at(address: SocketAddr) -> anyhow::Result<Self> {
        let bound = || {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            // A start behind a stop takes the port again at once.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            let address = socket.local_addr()?;
            Ok::<_, io::Error>(Self { socket, address })
        };
        bound().with_context(|| format!("cannot listen on {address}"))
    }

    /// Lets callers in. To be called in a runtime.
    pub(crate) fn open(self) -> anyhow::Result<TcpListener> {
        let listening = self.socket.listen(WAITING_MAX).and_then(tokio::net::TcpListener::into_std);
        listening.with_context(|| format!("cannot listen on {}", self.address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[actix_web::test]
    async fn an_address_is_known_before_anybody_is_let_in() {
        let door = Door::at(([127, 0, 0, 1], 0).into()).unwrap();
        let address = door.address;
        assert_ne!(address.port(), 0);
        assert!(TcpStream::connect(address).is_err());
        let listener = door.open().unwrap();
        assert_eq!(listener.local_addr().unwrap(), address);
        assert!(TcpStream::connect(address).is_ok());
        let taken = Door::at(address).err().map(|error| error.to_string());
        assert_eq!(taken, Some(format!("cannot listen on {address}")));
    }
}
