//! How the tests talk with a client: a JSON array of calls that begin at once, and a JSON value an answer, over standard
//! input and output.

use std::collections::HashMap;
use std::future::Future;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What a client is told on its command line: `--name=value`.
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

/// Begins each call as it comes, and returns when standard input has ended and every call has its answer. A call that
/// is cancelled is dropped, and `cancelled` is its answer.
pub async fn serve<Ask, Answer>(ask: Ask, cancelled: Value) -> Result<(), Failure>
where
    Ask: Fn(Value) -> Answer,
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
            let (cancel, gone) = oneshot::channel::<()>();
            cancels.insert(id, cancel);
            let asking = ask(call);
            let cancelled = cancelled.clone();
            running.spawn(async move {
                let mut answer = tokio::select! {
                    answer = asking => answer,
                    _ = gone => cancelled,
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
