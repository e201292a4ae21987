//! Tokens that can be told by how they begin.

use crate::{
    Kind, bytes,
    scan::Scan,
    values::{is_mixed, looks_random},
};

/// What the body of a token is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Body {
    /// Letters and digits.
    Alnum,
    /// Letters, digits, `_`.
    Word,
    /// Letters, digits, `_`, `-`.
    UrlSafe,
    /// Letters, digits, `_`, `-`, `.`, `=`, `~`, `%`.
    Dotted,
    /// Letters, digits, `+`, `/`, `=`.
    Base64,
    /// Lower case hexadecimal digits.
    Hex,
    /// Capitals and digits.
    Upper,
    /// Letters, digits, `_`, `-`, `/`, `.`, `?`, `=`, `&`, `@`: the path of a web hook.
    Path,
}

impl Body {
    fn has(self, b: u8) -> bool {
        b.is_ascii_alphanumeric()
            && match self {
                Self::Hex => b.is_ascii_digit() || (b'a'..=b'f').contains(&b),
                Self::Upper => b.is_ascii_digit() || b.is_ascii_uppercase(),
                _ => true,
            }
            || match self {
                Self::Alnum | Self::Hex | Self::Upper => false,
                Self::Word => b == b'_',
                Self::UrlSafe => matches!(b, b'_' | b'-'),
                Self::Dotted => matches!(b, b'_' | b'-' | b'.' | b'=' | b'~' | b'%'),
                Self::Base64 => matches!(b, b'+' | b'/' | b'='),
                Self::Path => {
                    matches!(b, b'_' | b'-' | b'/' | b'.' | b'?' | b'=' | b'&' | b'@')
                }
            }
    }
}

/// How long a body is, after its prefix.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Len {
    /// At least so many characters; all of them go.
    Min(usize),
    /// Exactly so many, and then no letter or digit.
    Exact(usize),
    /// At least so many, and they look drawn by lot (words joined by dashes do not).
    Random(usize),
}

/// One row of the table.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) prefix: &'static str,
    body: Body,
    len: Len,
}

const fn row(kind: Kind, prefix: &'static str, body: Body, len: Len) -> Token {
    Token {
        kind,
        prefix,
        body,
        len,
    }
}

use Body::{Alnum, Base64, Dotted, Hex, Path, Upper, UrlSafe, Word};
use Len::{Exact, Min, Random};

/// Every token with a prefix of its own. Of two rows that fit, the first is taken.
pub(crate) static TOKENS: &[Token] = &[
    // Git hosts: GitHub's five short forms and the fine-grained one, GitLab's family,
    // Bitbucket and Atlassian, Gitea-like ones have no prefix and need a keyword.
    row(Kind::Git, "ghp_", Word, Min(20)),
    row(Kind::Git, "gho_", Word, Min(20)),
    row(Kind::Git, "ghu_", Word, Min(20)),
    row(Kind::Git, "ghs_", Dotted, Min(20)),
    row(Kind::Git, "ghr_", Word, Min(20)),
    row(Kind::Git, "github_pat_", Word, Min(20)),
    row(Kind::Git, "glpat-", Dotted, Min(16)),
    row(Kind::Git, "gldt-", UrlSafe, Min(16)),
    row(Kind::Git, "glrt-", Dotted, Min(16)),
    row(Kind::Git, "glcbt-", UrlSafe, Min(16)),
    row(Kind::Git, "glptt-", UrlSafe, Min(16)),
    row(Kind::Git, "glft-", UrlSafe, Min(16)),
    row(Kind::Git, "glimt-", UrlSafe, Min(16)),
    row(Kind::Git, "gloas-", UrlSafe, Min(16)),
    row(Kind::Git, "glsoat-", UrlSafe, Min(16)),
    row(Kind::Git, "glagent-", UrlSafe, Min(16)),
    row(Kind::Git, "ATBB", Alnum, Random(24)),
    row(Kind::Git, "ATATT3", Dotted, Min(40)),
    row(Kind::Git, "ATCTT3", Dotted, Min(40)),
    // AWS: ids of long-lived and temporary keys; Bedrock keys.
    row(Kind::Aws, "AKIA", Upper, Exact(16)),
    row(Kind::Aws, "ASIA", Upper, Exact(16)),
    row(Kind::Aws, "ABIA", Upper, Exact(16)),
    row(Kind::Aws, "ACCA", Upper, Exact(16)),
    row(Kind::Aws, "ABSK", Base64, Random(60)),
    // Google: API keys, OAuth access and refresh tokens, OAuth client secrets.
    row(Kind::Google, "AIza", UrlSafe, Min(30)),
    row(Kind::Google, "ya29.", Dotted, Min(20)),
    row(Kind::Google, "1//0", UrlSafe, Random(30)),
    row(Kind::Google, "GOCSPX-", UrlSafe, Min(20)),
    // Chat: Slack tokens of every letter and its web hooks, Discord, Teams.
    row(Kind::Chat, "xoxb-", Dotted, Min(10)),
    row(Kind::Chat, "xoxp-", Dotted, Min(10)),
    row(Kind::Chat, "xoxa-", Dotted, Min(10)),
    row(Kind::Chat, "xoxr-", Dotted, Min(10)),
    row(Kind::Chat, "xoxs-", Dotted, Min(10)),
    row(Kind::Chat, "xoxo-", Dotted, Random(10)),
    row(Kind::Chat, "xoxc-", Dotted, Min(10)),
    row(Kind::Chat, "xoxd-", Dotted, Min(10)),
    row(Kind::Chat, "xoxe-", Dotted, Min(10)),
    row(Kind::Chat, "xoxe.xox", Dotted, Min(10)),
    row(Kind::Chat, "xapp-", UrlSafe, Min(20)),
    row(Kind::Chat, "hooks.slack.com/services/", Path, Min(20)),
    row(Kind::Chat, "hooks.slack.com/workflows/", Path, Min(20)),
    row(Kind::Chat, "hooks.slack.com/triggers/", Path, Min(20)),
    row(Kind::Chat, "discord.com/api/webhooks/", Path, Min(20)),
    row(Kind::Chat, "discordapp.com/api/webhooks/", Path, Min(20)),
    row(Kind::Chat, "webhook.office.com/webhookb2/", Path, Min(20)),
    // Payment.
    row(Kind::Payment, "sk_live_", Word, Min(10)),
    row(Kind::Payment, "sk_test_", Word, Random(10)),
    row(Kind::Payment, "rk_live_", Word, Min(10)),
    row(Kind::Payment, "rk_test_", Word, Random(10)),
    row(Kind::Payment, "whsec_", Base64, Min(20)),
    row(Kind::Payment, "sq0atp-", UrlSafe, Min(20)),
    row(Kind::Payment, "sq0csp-", UrlSafe, Min(20)),
    row(Kind::Payment, "rzp_live_", Alnum, Min(10)),
    row(Kind::Payment, "FLWSECK-", UrlSafe, Min(12)),
    row(Kind::Payment, "shpat_", Hex, Min(32)),
    row(Kind::Payment, "shpss_", Hex, Min(32)),
    row(Kind::Payment, "shpca_", Hex, Min(32)),
    row(Kind::Payment, "shppa_", Hex, Min(32)),
    // Registries of packages and images.
    row(Kind::Registry, "npm_", Alnum, Random(30)),
    row(Kind::Registry, "pypi-Ag", UrlSafe, Min(20)),
    row(Kind::Registry, "rubygems_", Hex, Min(40)),
    row(Kind::Registry, "dckr_pat_", UrlSafe, Min(20)),
    row(Kind::Registry, "dckr_oat_", UrlSafe, Min(20)),
    row(Kind::Registry, "oy2", Alnum, Exact(43)),
    row(Kind::Registry, "cio", Alnum, Exact(32)),
    row(Kind::Registry, "AKCp", Alnum, Random(60)),
    // Providers of models. Plain "sk-" is shared by several and by style sheets.
    row(Kind::Model, "sk-ant-", UrlSafe, Min(16)),
    row(Kind::Model, "sk-proj-", UrlSafe, Min(16)),
    row(Kind::Model, "sk-svcacct-", UrlSafe, Min(16)),
    row(Kind::Model, "sk-admin-", UrlSafe, Random(16)),
    row(Kind::Model, "sk-or-v1-", Hex, Min(32)),
    row(Kind::Model, "sk-lf-", UrlSafe, Min(30)),
    row(Kind::Model, "sk-", UrlSafe, Random(20)),
    row(Kind::Model, "sk_", Hex, Exact(48)),
    row(Kind::Model, "hf_", Alnum, Random(20)),
    row(Kind::Model, "gsk_", Alnum, Min(30)),
    row(Kind::Model, "xai-", Alnum, Min(30)),
    row(Kind::Model, "pplx-", Alnum, Min(30)),
    row(Kind::Model, "r8_", Alnum, Min(30)),
    row(Kind::Model, "nvapi-", UrlSafe, Min(30)),
    row(Kind::Model, "lsv2_pt_", Word, Min(20)),
    row(Kind::Model, "lsv2_sk_", Word, Min(20)),
    row(Kind::Model, "pcsk_", Word, Min(20)),
    row(Kind::Model, "tvly-", UrlSafe, Min(20)),
    // Clouds, platforms and tools.
    row(Kind::Service, "dop_v1_", Hex, Min(40)),
    row(Kind::Service, "doo_v1_", Hex, Min(40)),
    row(Kind::Service, "dor_v1_", Hex, Min(40)),
    row(Kind::Service, "SG.", Dotted, Random(40)),
    row(Kind::Service, "SK", Hex, Exact(32)),
    row(Kind::Service, "key-", Hex, Exact(32)),
    row(Kind::Service, "hvs.", UrlSafe, Min(20)),
    row(Kind::Service, "hvb.", UrlSafe, Min(20)),
    row(Kind::Service, "hvr.", UrlSafe, Min(20)),
    row(Kind::Service, "LTAI", Alnum, Exact(20)),
    row(Kind::Service, "HRKU-", UrlSafe, Min(20)),
    row(Kind::Service, "fo1_", UrlSafe, Min(20)),
    row(Kind::Service, "fm2_", Base64, Min(40)),
    row(Kind::Service, "lin_api_", Alnum, Min(20)),
    row(Kind::Service, "ntn_", Alnum, Min(30)),
    row(Kind::Service, "figd_", UrlSafe, Min(20)),
    row(Kind::Service, "PMAK-", UrlSafe, Min(30)),
    row(Kind::Service, "glsa_", Word, Min(20)),
    row(Kind::Service, "glc_eyJ", Base64, Min(20)),
    row(Kind::Service, "NRAK-", Alnum, Min(20)),
    row(Kind::Service, "sntrys_", Dotted, Min(20)),
    row(Kind::Service, "sntryu_", Hex, Min(30)),
    row(Kind::Service, "dp.pt.", Alnum, Min(30)),
    row(Kind::Service, "dp.st.", Dotted, Random(30)),
    row(Kind::Service, "pscale_tkn_", Dotted, Min(20)),
    row(Kind::Service, "pscale_pw_", Dotted, Min(20)),
    row(Kind::Service, "dapi", Hex, Exact(32)),
    row(Kind::Service, "sbp_", Hex, Min(30)),
    row(Kind::Service, "sb_secret_", UrlSafe, Min(20)),
    row(Kind::Service, "nfp_", Alnum, Min(30)),
    row(Kind::Service, "CCIPAT_", Word, Min(20)),
    row(Kind::Service, "bkua_", Hex, Min(30)),
    row(Kind::Service, "squ_", Hex, Min(30)),
    row(Kind::Service, "sqp_", Hex, Min(30)),
    row(Kind::Service, "tskey-", UrlSafe, Min(16)),
    row(Kind::Service, "ops_eyJ", Base64, Min(40)),
    row(Kind::Service, "EZAK", Alnum, Random(40)),
    // Seeds: NATS keys (operator, account, user, server, cluster, curve) and age.
    row(Kind::Seed, "SUA", Upper, Exact(55)),
    row(Kind::Seed, "SAA", Upper, Exact(55)),
    row(Kind::Seed, "SOA", Upper, Exact(55)),
    row(Kind::Seed, "SNA", Upper, Exact(55)),
    row(Kind::Seed, "SCA", Upper, Exact(55)),
    row(Kind::Seed, "SXA", Upper, Exact(55)),
    row(Kind::Seed, "AGE-SECRET-KEY-1", Upper, Min(40)),
    // Found by what stands in the middle; see `look`.
    row(Kind::Azure, "Q~", Dotted, Min(30)),
    row(Kind::Service, ".atlasv1.", UrlSafe, Min(40)),
    row(Kind::Chat, ":AA", UrlSafe, Min(32)),
];

/// What may stand before the anchor and belongs to the secret, for the rows of the middle.
fn lead(text: &[u8], at: usize, floor: usize, token: &Token) -> Option<usize> {
    let back = |class: fn(u8) -> bool, most: usize| {
        let mut start = at;
        while start > floor && at - start < most && class(text[start - 1]) {
            start -= 1;
        }
        start
    };
    match token.prefix {
        // Three characters and a digit.
        "Q~" => {
            let start = back(
                |b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'~' | b'.' | b'-'),
                4,
            );
            (at - start == 4 && text[at - 1].is_ascii_digit()).then_some(start)
        }
        ".atlasv1." => {
            let start = back(|b| b.is_ascii_alphanumeric(), 20);
            (at - start >= 10).then_some(start)
        }
        // The number of a Telegram bot.
        ":AA" => {
            let start = back(|b| b.is_ascii_digit(), 14);
            (at - start >= 7).then_some(start)
        }
        _ => (bytes::starts_fresh(text, at)).then_some(at),
    }
}

/// Cuts the token of one row if it stands at `at`; where the walk goes on.
pub(crate) fn look(scan: &mut Scan<'_>, at: usize, token: &Token) -> Option<usize> {
    let text = scan.text;
    let body = at + token.prefix.len();
    if &text[at..body] != token.prefix.as_bytes() {
        return None;
    }
    let start = lead(text, at, scan.cut_until(), token)?;
    // A row that may fail looks no further than it needs to fail.
    let needed = match token.len {
        Len::Min(n) | Len::Exact(n) | Len::Random(n) => n,
    };
    let enough = text[body..text.len().min(body + needed)]
        .iter()
        .take_while(|b| token.body.has(**b))
        .count();
    if enough < needed {
        return None;
    }
    let mut end = body + needed;
    match token.len {
        Len::Exact(_) => {
            if text.get(end).is_some_and(|b| b.is_ascii_alphanumeric()) {
                return None;
            }
        }
        Len::Min(_) => end = bytes::run(text, end, |b| token.body.has(b)),
        Len::Random(_) => {
            // Judged by a stretch of bounded length, so that failing stays cheap.
            let sample = &text[body..text.len().min(body + needed.max(64))];
            let sample = &sample[..bytes::run(sample, 0, |b| token.body.has(b))];
            if !looks_random(sample) {
                return None;
            }
            end = bytes::run(text, end, |b| token.body.has(b));
        }
    }
    // The full stop of the sentence is not the token's.
    while end > body + needed
        && matches!(text[end - 1], b'.' | b'-' | b'=' | b'?' | b'&')
        && !matches!(token.body, Base64)
    {
        end -= 1;
    }
    scan.cut(start, end, token.kind);
    if matches!(token.kind, Kind::Aws) {
        end = secret_beside(scan, end);
    }
    Some(end)
}

/// A secret access key that stands right beside its id, as in a line of CSV.
fn secret_beside(scan: &mut Scan<'_>, after: usize) -> usize {
    let text = scan.text;
    let near = text.len().min(after + 8);
    let start = after
        + text[after..near]
            .iter()
            .take_while(|b| {
                matches!(
                    b,
                    b' ' | b',' | b':' | b';' | b'|' | b'"' | b'\'' | b'\t' | b'\n'
                )
            })
            .count();
    let window = &text[start..text.len().min(start + 41)];
    if start > after
        && bytes::run(window, 0, bytes::is_base64) == 40
        && window[..40].iter().any(u8::is_ascii_digit)
        && is_mixed(&window[..40])
    {
        scan.cut(start, start + 40, Kind::Aws);
        return start + 40;
    }
    after
}
