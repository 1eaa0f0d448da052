//! The connection to the service.

use livepatch::control::{Answer, Client, Request};

use crate::args::Args;
use crate::end::Failure;

/// Connects to the service that the arguments name.
pub(crate) fn connect(args: &Args) -> Result<Client, Failure> {
    let mut service = Client::builder(args.socket());
    if let Some(user) = args.user {
        service = service.trust_user(user);
    }
    let mut client = service.connect().map_err(Failure::Connect)?;
    client.set_timeout(Some(args.timeout));
    Ok(client)
}

/// Sends one request, and returns the answer.
pub(crate) fn send_request(args: &Args, request: &Request) -> Result<Answer, Failure> {
    Ok(connect(args)?.request(request)?)
}
