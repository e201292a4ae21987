//! A Bolt 4.4 client of few words: the driver does not show plans.

#![allow(dead_code, reason = "each test binary uses its part")]
#![expect(clippy::unwrap_used, reason = "a test: its panic is its verdict")]

use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::common::Server;

/// One connection.
pub struct Bolt {
    stream: TcpStream,
}

impl Bolt {
    /// Connects and says hello.
    pub async fn connect(server: &Server) -> Self {
        let address = server.uri.rsplit('/').next().expect("an address");
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut hello = vec![0x60, 0x60, 0xB0, 0x17, 0, 0, 4, 4];
        hello.extend([0; 12]);
        stream.write_all(&hello).await.unwrap();
        let mut version = [0; 4];
        stream.read_exact(&mut version).await.unwrap();
        assert_eq!(version, [0, 0, 4, 4]);
        let mut bolt = Self { stream };
        let login = json!({
            "user_agent": "fleet-test/1",
            "scheme": "basic",
            "principal": server.user,
            "credentials": server.password,
        });
        bolt.send(0x01, &[login]).await;
        bolt.success().await;
        bolt
    }

    /// Runs `EXPLAIN` or `PROFILE` of a text; the plan as the server tells it.
    pub async fn plan(&mut self, how: &str, text: &str, params: &Value) -> Plan {
        self.send(
            0x10,
            &[json!(format!("{how} {text}")), params.clone(), json!({})],
        )
        .await;
        self.success().await;
        self.send(0x3F, &[json!({ "n": -1 })]).await;
        let summary = self.success().await;
        let plan = summary
            .get("plan")
            .or(summary.get("profile"))
            .expect("a plan");
        Plan::of(plan)
    }

    /// The metadata of the next SUCCESS; skips records.
    async fn success(&mut self) -> Value {
        loop {
            let (tag, fields) = self.receive().await;
            match tag {
                0x70 => return fields.into_iter().next().unwrap_or_default(),
                0x71 => {}
                _ => panic!("not a success: {fields:?}"),
            }
        }
    }

    async fn send(&mut self, tag: u8, fields: &[Value]) {
        let mut bytes = vec![0xB0 | u8::try_from(fields.len()).unwrap(), tag];
        fields.iter().for_each(|field| write(&mut bytes, field));
        let mut message = Vec::new();
        for chunk in bytes.chunks(0xFFFF) {
            message.extend(u16::try_from(chunk.len()).unwrap().to_be_bytes());
            message.extend(chunk);
        }
        message.extend([0, 0]);
        self.stream.write_all(&message).await.unwrap();
    }

    async fn receive(&mut self) -> (u8, Vec<Value>) {
        let mut bytes = Vec::new();
        loop {
            let length = usize::from(self.stream.read_u16().await.unwrap());
            if length == 0 && !bytes.is_empty() {
                break;
            }
            let start = bytes.len();
            bytes.resize(start + length, 0);
            self.stream.read_exact(&mut bytes[start..]).await.unwrap();
        }
        let mut input = bytes.as_slice();
        let count = take(&mut input, 1)[0] & 0x0F;
        let tag = take(&mut input, 1)[0];
        (tag, (0..count).map(|_| read(&mut input)).collect())
    }
}

fn write(out: &mut Vec<u8>, value: &Value) {
    let length = |out: &mut Vec<u8>, marker: u8, length: usize| {
        out.push(marker);
        out.extend(u32::try_from(length).unwrap().to_be_bytes());
    };
    match value {
        Value::Null => out.push(0xC0),
        Value::Bool(value) => out.push(if *value { 0xC3 } else { 0xC2 }),
        Value::Number(number) => {
            out.push(0xCB);
            out.extend(number.as_i64().expect("a whole number").to_be_bytes());
        }
        Value::String(text) => {
            length(out, 0xD2, text.len());
            out.extend(text.as_bytes());
        }
        Value::Array(items) => {
            length(out, 0xD6, items.len());
            items.iter().for_each(|item| write(out, item));
        }
        Value::Object(map) => {
            length(out, 0xDA, map.len());
            for (name, value) in map {
                write(out, &json!(name));
                write(out, value);
            }
        }
    }
}

fn take<'a>(input: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = input.split_at(count);
    *input = rest;
    taken
}

fn size(input: &mut &[u8], bytes: usize) -> usize {
    take(input, bytes)
        .iter()
        .fold(0, |size, byte| size << 8 | usize::from(*byte))
}

/// Any value; dates, nodes and the like as the list of their fields.
fn read(input: &mut &[u8]) -> Value {
    let marker = take(input, 1)[0];
    let low = usize::from(marker & 0x0F);
    let text = |input: &mut &[u8], count| json!(String::from_utf8_lossy(take(input, count)));
    let items = |input: &mut &[u8], count| (0..count).map(|_| read(input)).collect::<Value>();
    let map = |input: &mut &[u8], count| {
        let entries = (0..count).map(|_| {
            let name = read(input).as_str().expect("a name").to_owned();
            (name, read(input))
        });
        Value::Object(entries.collect::<Map<_, _>>())
    };
    match marker {
        0x00..=0x7F => json!(marker),
        0xF0..=0xFF => json!(i8::from_be_bytes([marker])),
        0x80..=0x8F => text(input, low),
        0x90..=0x9F => items(input, low),
        0xA0..=0xAF => map(input, low),
        0xB0..=0xBF => {
            take(input, 1);
            items(input, low)
        }
        0xC0 => Value::Null,
        0xC1 => json!(f64::from_be_bytes(take(input, 8).try_into().unwrap())),
        0xC2 => json!(false),
        0xC3 => json!(true),
        0xC8 => json!(i8::from_be_bytes(take(input, 1).try_into().unwrap())),
        0xC9 => json!(i16::from_be_bytes(take(input, 2).try_into().unwrap())),
        0xCA => json!(i32::from_be_bytes(take(input, 4).try_into().unwrap())),
        0xCB => json!(i64::from_be_bytes(take(input, 8).try_into().unwrap())),
        0xCC..=0xCE => {
            let count = size(input, 1 << (marker - 0xCC));
            text(input, count)
        }
        0xD0..=0xD2 => {
            let count = size(input, 1 << (marker - 0xD0));
            text(input, count)
        }
        0xD4..=0xD6 => {
            let count = size(input, 1 << (marker - 0xD4));
            items(input, count)
        }
        0xD8..=0xDA => {
            let count = size(input, 1 << (marker - 0xD8));
            map(input, count)
        }
        _ => panic!("marker {marker:#x}"),
    }
}

/// A query plan.
#[derive(Debug, Clone)]
pub struct Plan {
    /// `NodeIndexSeek`, without the name of the database.
    pub operator: String,
    /// What it works on.
    pub details: String,
    /// Database hits, if profiled.
    pub hits: i64,
    /// Where its rows come from.
    pub children: Vec<Plan>,
}

impl Plan {
    fn of(plan: &Value) -> Self {
        let operator = plan["operatorType"].as_str().expect("an operator");
        let hits = plan["dbHits"].as_i64().or(plan["args"]["DbHits"].as_i64());
        let children = plan["children"].as_array().into_iter().flatten();
        Self {
            operator: operator.split('@').next().unwrap_or_default().to_owned(),
            details: plan["args"]["Details"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            hits: hits.unwrap_or_default(),
            children: children.map(Self::of).collect(),
        }
    }

    /// This operator and all below.
    pub fn all(&self) -> Vec<&Self> {
        let below = self.children.iter().flat_map(Self::all);
        std::iter::once(self).chain(below).collect()
    }

    /// Database hits of all operators.
    pub fn total_hits(&self) -> i64 {
        self.all().iter().map(|plan| plan.hits).sum()
    }

    /// As a text that a person can read.
    pub fn outline(&self) -> String {
        let below = self
            .children
            .iter()
            .map(|child| child.outline().replace('\n', "\n  "));
        let below: String = below.map(|child| format!("\n  {child}")).collect();
        format!("{} {} [{}]{below}", self.operator, self.details, self.hits)
    }
}
