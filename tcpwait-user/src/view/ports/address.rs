//! Addresses as `ports` shows them.

use super::super::ViewContext;
use crate::{
    aggregate::ports::report::{PortDestination, Source},
    plain,
};

/// `10.0.0.1`, `fe80::1%eth0`.
pub fn from(destination: &PortDestination, context: ViewContext<'_>) -> String {
    plain::column(&context.names.address(destination.laddr, destination.interface()))
}

/// The same of a source.
pub(super) fn source(source: &Source, context: ViewContext<'_>) -> String {
    plain::column(&context.names.address(source.laddr, source.interface()))
}

/// `10.0.0.1:80`, `[fd00::1]:80`.
pub fn to(destination: &PortDestination) -> String {
    std::net::SocketAddr::new(destination.raddr, destination.rport).to_string()
}
