//! A library in a process of its own, which answers one line with one line (`bench/worker.py`).
//!
//! The process is stopped while it is not asked: threads of a library that has done its work may go on looking for more, for up to a fifth of a
//! second, on the cores that the next library is measured on.

use crate::python::Environment;
use crate::steps::target;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// How long a worker may take over one answer. `torch.compile` takes up to half a minute for a transformer block.
const PATIENCE: Duration = Duration::from_secs(300);

/// A worker process, started by the first request and again after it died or was restarted.
#[derive(Debug)]
pub struct Worker {
    pub library: &'static str,
    command: Command,
    process: Option<Process>,
    starts: usize,
}

#[derive(Debug)]
struct Process {
    child: Child,
    requests: ChildStdin,
    answers: Receiver<String>,
}

impl Worker {
    pub fn new(library: &'static str, environment: &Environment) -> Worker {
        let mut command = environment.python();
        command.args(["bench/worker.py", library]);
        Worker { library, command, process: None, starts: 0 }
    }

    /// Ends the process; the next request starts a new one.
    pub fn restart(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may be gone already, which is what is wanted.
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
    }

    /// The fields of the answer, or the error in words.
    pub fn ask(&mut self, request: &str) -> Result<Vec<String>, String> {
        if self.process.is_none() {
            self.process = Some(self.start().map_err(|error| format!("cannot start its worker: {error}"))?);
        }
        let process = self.process.as_mut().expect("it was just started");
        process.signal("CONT");
        let sent = writeln!(process.requests, "{request}");
        let answer = sent
            .map_err(|error| error.to_string())
            .and_then(|()| process.answers.recv_timeout(PATIENCE).map_err(|error| error.to_string()));
        let Ok(answer) = answer else {
            self.restart();
            return Err(format!("its worker died of, or hung in, '{request}'"));
        };
        process.signal("STOP");
        let mut fields = answer.split('\t').map(str::to_owned);
        match fields.next().as_deref() {
            Some("ok") => Ok(fields.collect()),
            _ => Err(fields.collect::<Vec<_>>().join(" ")),
        }
    }

    /// Seconds per call of one sample that lasts about `seconds`; of a single call if that is 0.
    pub fn time(&mut self, mode: &str, seconds: f64) -> Result<f64, String> {
        let answer = self.ask(&format!("time {mode} {seconds}"))?.concat();
        answer.parse().map_err(|_| format!("'{answer}' is not a time"))
    }

    fn start(&mut self) -> std::io::Result<Process> {
        self.starts += 1;
        // A folder of its own for temporary files, where MLX and torch keep compiled code: what another process left
        // there would make a first call look faster than it is.
        let folder = target().join(format!("bench/{}-{}-{}", self.library, std::process::id(), self.starts));
        std::fs::create_dir_all(&folder)?;
        self.command.env("TMPDIR", folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = self.command.spawn()?;
        let requests = child.stdin.take().expect("its input is piped");
        let output = child.stdout.take().expect("its output is piped");
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Process { child, requests, answers })
    }
}

impl Process {
    /// Sends it a signal, if it is still there.
    fn signal(&self, name: &str) {
        let mut kill = Command::new("kill");
        kill.args(["-s", name, &self.child.id().to_string()]).stderr(Stdio::null());
        let _ = kill.status();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.restart();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps::command;

    #[test]
    fn a_worker_answers_fails_dies_and_starts_again() {
        let script = "while read -r line; do case $line in die) exit 1;; fail) printf 'error\\tno such row\\n';; *) printf 'ok\\t0.5\\n';; esac; done";
        let mut shell = command("sh");
        shell.args(["-c", script]);
        let mut worker = Worker { library: "test", command: shell, process: None, starts: 0 };
        assert_eq!(worker.time("eager", 0.1), Ok(0.5));
        assert_eq!(worker.ask("fail"), Err("no such row".to_owned()));
        assert_eq!(worker.ask("die"), Err("its worker died of, or hung in, 'die'".to_owned()));
        assert_eq!(worker.ask("open x"), Ok(vec!["0.5".to_owned()]));
        assert_eq!(worker.starts, 2);
    }
}
