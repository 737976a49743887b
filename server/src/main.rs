//! `conclave-server`: the control plane and its operator's command line.

use std::{env, path::Path, process::ExitCode, time::Duration};

use daemon::command_line::{FAILURE, Terminal};
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    let mut arguments = env::args_os().map(|argument| argument.to_string_lossy().into_owned());
    let name = arguments.next().unwrap_or_default();
    let name = Path::new(&name).file_name().map_or_else(
        || "conclave-server".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    );
    let program = server::cli::program(name);
    let arguments: Vec<_> = arguments.collect();

    let mut terminal = Terminal::standard();
    match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => {
            let code = runtime.block_on(program.execute(&arguments, &mut terminal));
            end(runtime, code)
        }
        Err(error) => {
            terminal.error_line(&format!("cannot start the runtime: {error}"));
            FAILURE.into()
        }
    }
}

/// Ends what is left of the command. Exit handlers would take away what a thread that has a database open works with.
fn end(runtime: Runtime, code: u8) -> ExitCode {
    runtime.shutdown_timeout(LEAVES_WITHIN);
    if !raft_store::all_closed_within(LEAVES_WITHIN) {
        tracing::warn!("ends with files of the store open");
        daemon::process::exit_at_once(code);
    }
    code.into()
}

/// How long what goes on after its command may take.
const LEAVES_WITHIN: Duration = Duration::from_secs(2);
