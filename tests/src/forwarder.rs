//! An address at which the broker appears later: a TCP port that refuses until it is opened, and then forwards.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};

/// A port of this machine that nobody listens on yet.
pub struct Forwarder {
    address: String,
    broker: String,
}

impl Forwarder {
    /// Picks the port; connecting to it is refused until [`Self::open`].
    ///
    /// # Panics
    /// When there is no free port.
    pub fn closed(broker: &str) -> Self {
        // Below the ports that systems give to outgoing connections, so that nobody gets it in between.
        let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
        let first = 10_000 + (std::process::id() % 9_000) as u16;
        let port = (first..20_000).find(free).expect("a free port");
        let broker = broker.split(',').next().expect("an address");
        Self {
            address: format!("127.0.0.1:{port}"),
            broker: broker.to_owned(),
        }
    }

    /// `host:port`, as a client is told.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Forwards every connection from now on, until the test's process ends.
    ///
    /// # Panics
    /// When the port cannot be listened on.
    pub fn open(&self) {
        let listener = TcpListener::bind(&self.address).expect("listen");
        let broker = self.broker.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A connection that fails is the client's to open again.
                let _ = forward(client, &broker);
            }
        });
    }
}

fn forward(client: TcpStream, broker: &str) -> io::Result<()> {
    let server = TcpStream::connect(broker)?;
    pump(client.try_clone()?, server.try_clone()?);
    pump(server, client);
    Ok(())
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    std::thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
}
