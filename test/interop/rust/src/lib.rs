//! The protocol of tests and client: lines with a JSON array of concurrent calls on standard input, and a line with a JSON
//! value for each answer, and for each event of a stream, on standard output.

use std::collections::HashMap;
use std::future::Future;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// An option of the client's command line: `--name=value`.
pub fn option(name: &str) -> Option<String> {
    let prefix = format!("--{name}");
    std::env::args().find_map(|argument| {
        let rest = argument.strip_prefix(&prefix)?;
        if rest.is_empty() {
            Some(String::new())
        } else {
            rest.strip_prefix('=').map(String::from)
        }
    })
}

/// Writes an event of the stream of a call.
pub fn report(call: &Value, event: Value) {
    println!("{}", json!({ "id": call["id"], "event": event }));
}

/// Starts each call as it arrives, and returns when standard input has ended and every call has its answer. A call that
/// is cancelled is dropped, and `cancelled` is its answer.
pub async fn serve<Start, Answer>(start: Start, cancelled: Value) -> Result<(), Failure>
where
    Start: Fn(Value) -> Answer,
    Answer: Future<Output = Value> + Send + 'static,
{
    let mut cancels = HashMap::new();
    let mut running = JoinSet::new();
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        for call in serde_json::from_str::<Vec<Value>>(&line)? {
            let id = call["id"].as_u64().ok_or("a call without an id")?;
            if call["cancel"] == true {
                drop(cancels.remove(&id));
                continue;
            }
            let (cancel, dropped) = oneshot::channel::<()>();
            cancels.insert(id, cancel);
            let call = start(call);
            let cancelled = cancelled.clone();
            running.spawn(async move {
                let mut answer = tokio::select! {
                    answer = call => answer,
                    _ = dropped => cancelled,
                };
                answer["id"] = id.into();
                println!("{answer}");
            });
        }
    }
    while let Some(done) = running.join_next().await {
        done?;
    }
    Ok(())
}
