use super::{Failure, say};

/// Prints the OpenAPI document.
pub(super) fn run() -> Result<(), Failure> {
    say(format_args!("{:#}", crm_http::document(None)))?;
    Ok(())
}
