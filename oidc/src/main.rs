//! `conclave-oidc-provider`: the OIDC discovery provider.

use std::{env, process::ExitCode};

use daemon::command_line::{FAILURE, Terminal};

fn main() -> ExitCode {
    let mut arguments = env::args_os().map(|argument| argument.to_string_lossy().into_owned());
    let name = arguments.next().unwrap_or_default();
    let arguments: Vec<_> = arguments.collect();
    let mut terminal = Terminal::standard();
    match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime
            .block_on(oidc::cli::execute(&name, &arguments, &mut terminal))
            .into(),
        Err(error) => {
            terminal.error_line(&format!("cannot start the runtime: {error}"));
            FAILURE.into()
        }
    }
}
