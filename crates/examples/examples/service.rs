//! An HTTP service whose connections have sessions, and which is patched while it serves.
//!
//! `Connection` stands for a type that is used all over a program: no field can be added. The service attaches a session to
//! each connection. A patch then attaches one more value, a counter, to those connections that send a request while it is
//! enabled: it allows each connection two requests. When it is disabled, its counters are freed, and the sessions stay.
//!
//! `cargo run --example service` serves some clients of its own and ends; with an address, such as `127.0.0.1:8080`, it
//! serves until standard input ends, and each line there enables or disables the patch.

use std::env;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use axum::serve::IncomingStream;
use livepatch::{ObjectPatch, Patch, State, UnitExt, patchable, registry};
use shadow_vars::{Parent, ShadowId, global, start_reclaimer};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task;

type Failure = Box<dyn Error + Send + Sync>;

/// A connection.
struct Connection {
    peer: SocketAddr,
}

/// What the service attaches to each connection.
struct Session {
    requests: AtomicU32,
}

const SESSION: ShadowId<Session> = ShadowId::new(1);

/// The connection as handlers get it. The last clone is dropped when the connection is closed; as a [`Parent`], it frees
/// all values that are attached to it, by whichever code.
#[derive(Clone)]
struct Handle(Arc<Parent<Connection>>);

impl Connected<IncomingStream<'_, TcpListener>> for Handle {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        let peer = *stream.remote_addr();
        Self(Arc::new(Parent::new(Connection { peer })))
    }
}

/// Decides whether a request is answered.
#[patchable]
fn admit(_connection: &Connection) -> bool {
    true
}

/// Answers a request.
async fn answer(ConnectInfo(Handle(connection)): ConnectInfo<Handle>) -> (StatusCode, String) {
    let connection = &**connection;
    if !admit(connection) {
        return (StatusCode::TOO_MANY_REQUESTS, "enough\n".to_owned());
    }
    // An owned guard, unlike that of `pin`, may be held across awaits, and with it what it protects.
    let vars = global().pin_owned();
    let new = Session {
        requests: AtomicU32::new(0),
    };
    let Ok(session) = vars.get_or_alloc(connection, SESSION, new) else {
        return (StatusCode::SERVICE_UNAVAILABLE, "no memory\n".to_owned());
    };
    task::yield_now().await; // a query, say
    let requests = session.requests.fetch_add(1, Ordering::Relaxed) + 1;
    (StatusCode::OK, format!("request {requests} of {}\n", connection.peer))
}

/// Makes each request a unit of work, so that all of it runs one version of the code.
async fn in_unit(request: Request, next: Next) -> Response {
    next.run(request).in_unit().await
}

/// What the patch attaches: how many requests a connection has sent while the patch was enabled.
const COUNT: ShadowId<AtomicU32> = ShadowId::new(2);

fn admit_two(connection: &Connection) -> bool {
    let vars = global().pin();
    let count = vars.get_or_alloc(connection, COUNT, AtomicU32::new(0));
    count.is_ok_and(|count| count.fetch_add(1, Ordering::Relaxed) < 2)
}

fn quota() -> Result<Arc<Patch>, Failure> {
    let patch = Patch::builder("quota")
        .object(ObjectPatch::program().function::<admit>(admit_two))
        .state(State::new(1, 1).owns(global(), COUNT))
        .build()?;
    Ok(patch)
}

/// Disables the patch, and waits until no request runs it. Blocks.
fn disable_quota() -> Result<(), Failure> {
    registry().disable("quota")?;
    registry().wait(Duration::from_secs(10))?;
    Ok(())
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    // Values that are freed are dropped even while no requests come.
    start_reclaimer()?;
    let by_hand = env::args().nth(1);
    let listener = TcpListener::bind(by_hand.as_deref().unwrap_or("127.0.0.1:0")).await?;
    let address = listener.local_addr()?;
    println!("serving on http://{address}");
    let app = Router::new()
        .route("/", get(answer))
        .layer(middleware::from_fn(in_unit))
        .into_make_service_with_connect_info::<Handle>();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = axum::serve(listener, app).with_graceful_shutdown(async {
        let _ = stopped.await;
    });
    let server = tokio::spawn(server.into_future());

    match by_hand {
        Some(_) => take_commands().await?,
        None => play(address).await?,
    }

    // Shutdown: first the requests and the connections, then the patches, then what waits to be dropped.
    drop(stop);
    server.await??;
    task::spawn_blocking(|| {
        if registry().patch("quota").is_some() {
            disable_quota()?;
        }
        global().synchronize()?;
        Ok::<(), Failure>(())
    })
    .await??;
    let stats = global().stats();
    println!("stopped; {} values attached, {} freed", stats.created, stats.freed);
    assert_eq!((stats.live, stats.retired_objects), (0, 0));
    Ok(())
}

/// Enables or disables the patch for each line of standard input.
async fn take_commands() -> Result<(), Failure> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while lines.next_line().await?.is_some() {
        match registry().patch("quota") {
            None => registry().enable(&quota()?)?,
            Some(_) => task::spawn_blocking(disable_quota).await??,
        }
        println!("quota: {}", registry().patch("quota").is_some());
    }
    Ok(())
}

/// Sends requests before, while, and after the patch is enabled.
async fn play(address: SocketAddr) -> Result<(), Failure> {
    let mut old = Client::connect(address).await?;
    assert_eq!(old.request().await?, 200);
    assert_eq!(global().stats().live, 1);

    registry().enable(&quota()?)?;
    println!("quota is enabled");
    // Connections from before have a session without a counter; they get one when they need it.
    assert_eq!(
        [old.request().await?, old.request().await?, old.request().await?],
        [200, 200, 429]
    );
    let mut new = Client::connect(address).await?;
    assert_eq!(
        [new.request().await?, new.request().await?, new.request().await?],
        [200, 200, 429]
    );
    assert_eq!(global().len_of(COUNT), 2);
    drop(new);

    task::spawn_blocking(disable_quota).await??;
    println!("quota is disabled");
    assert_eq!(global().len_of(COUNT), 0);
    assert_eq!(old.request().await?, 200);
    Ok(())
}

/// A client that sends all requests over one connection.
struct Client(BufReader<TcpStream>);

impl Client {
    async fn connect(address: SocketAddr) -> io::Result<Self> {
        Ok(Self(BufReader::new(TcpStream::connect(address).await?)))
    }

    /// Sends a request, prints the answer, and returns its status.
    async fn request(&mut self) -> Result<u16, Failure> {
        self.0.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).await?;
            match line.trim_end().split_once(' ') {
                Some(("HTTP/1.1", rest)) => status = rest.split(' ').next().unwrap_or_default().parse()?,
                Some(("content-length:", rest)) => length = rest.parse()?,
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await?;
        print!("{status}: {}", String::from_utf8(body)?);
        Ok(status)
    }
}
