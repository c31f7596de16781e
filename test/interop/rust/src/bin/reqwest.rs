//! Calls the service over REST by reqwest: over HTTP/1.1, with `--http2` over HTTP/2 by prior knowledge, and with `--ca`
//! over the protocol that rustls negotiates.

use interop::{Failure, option, serve};
use reqwest::{Certificate, Client, Response, Version};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Failure> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| "a provider is installed already")?;
    let builder = match option("ca") {
        Some(path) => {
            Client::builder().tls_certs_only([Certificate::from_pem(&std::fs::read(path)?)?])
        }
        None if option("http2").is_some() => Client::builder().http2_prior_knowledge(),
        None => Client::builder().http1_only(),
    };
    let client = builder.build()?;
    let target = option("target").ok_or("--target")?;
    let start = |call: Value| {
        let url = format!(
            "{target}/get_status/{}",
            call["reqId"].as_str().unwrap_or_default()
        );
        let client = client.clone();
        async move {
            let answer = async { rest(client.get(url).send().await?).await };
            answer
                .await
                .unwrap_or_else(|error| json!({ "failed": format!("{error:?}") }))
        }
    };
    serve(start, json!({ "failed": "cancelled" })).await
}

async fn rest(response: Response) -> reqwest::Result<Value> {
    let version = if response.version() == Version::HTTP_2 {
        "HTTP/2"
    } else {
        "HTTP/1.1"
    };
    let mut answer = json!({ "status": response.status().as_u16(), "version": version });
    if let Some(reason) = response.headers().get("error-reason") {
        answer["reason"] = reason.to_str().unwrap_or_default().into();
    }
    answer["body"] = response.text().await?.into();
    Ok(json!({ "rest": answer }))
}
