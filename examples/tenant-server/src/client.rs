//! A connection to the server, for the load generator and the tests.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::net::SocketAddr;
use tokio::net::TcpStream;

/// What goes wrong with a connection.
pub type ClientError = Box<dyn Error + Send + Sync>;

/// One connection, which is made again when the server has closed it.
#[derive(Debug)]
pub struct Client {
    server: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// If that fails.
    pub async fn connect(server: SocketAddr) -> Result<Client, ClientError> {
        Ok(Client { server, sender: connect(server).await? })
    }

    /// Sends one request, and reads all of the answer.
    ///
    /// # Errors
    /// If the connection breaks before the answer is there.
    pub async fn send(&mut self, method: Method, path: &str, body: Bytes) -> Result<(StatusCode, Bytes), ClientError> {
        if self.sender.ready().await.is_err() {
            self.sender = connect(self.server).await?;
        }
        let request = Request::builder().method(method).uri(path).header("host", "tenant-server");
        let response = self.sender.send_request(request.body(Full::new(body))?).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }
}

async fn connect(server: SocketAddr) -> Result<SendRequest<Full<Bytes>>, ClientError> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // Ends with the sender; its errors are the sender's too.
    tokio::spawn(connection);
    Ok(sender)
}
