//! `cargo xtask fixtures`: makes the recordings of other kernels in tests/fixtures anew, in guests.
//! What is recorded is told by tests/kernel/story.rs and story_of_ends.rs; here it is only brought home.

use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::toolchain;
use crate::vm::series::{Series, series_of};
use crate::vm::{Guests, Options, Profile};

/// What is told, the first argument of the program in the guest that tells it, and the kernels that it is told on unless others are named.
const STORIES: [(&str, &[&str]); 2] =
    [("record-a-story", &["6.1", "6.12"]), ("record-the-ends", &["6.1", "7.3", "7.3-rt", "7.3:arm64"])];

/// The verb. `ends`: only how connections end.
pub fn run(kernels: &[Series], ends: bool) -> Result<()> {
    for (story, on) in STORIES.iter().skip(usize::from(ends)) {
        tell(story, if kernels.is_empty() { series_of(on) } else { kernels.to_vec() })?;
    }
    println!("to see what has changed: UPDATE_GOLDEN=1 cargo test -p tcpwait --test replay, then git diff");
    Ok(())
}

fn tell(story: &str, kernels: Vec<Series>) -> Result<()> {
    let guests = Guests::fetch(&Options::of(kernels))?;
    let code = guests.command(Profile::Warp, &["/init", story, "/out"].map(str::to_owned))?;
    if code != 0 {
        bail!("{story}: the story was not told to its end (exit code {code}); tests/fixtures is as before");
    }
    let home = toolchain::workspace().join("tests/fixtures");
    for (kernel, folder) in guests.out() {
        let files = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for file in files {
            let from = file?.path();
            let name = from.file_name().unwrap_or_default().to_string_lossy();
            let to = home.join(format!("{kernel}-{name}"));
            let size = fs::copy(&from, &to).with_context(|| format!("cannot write {}", to.display()))?;
            println!("{}: {size} bytes", to.display());
        }
    }
    Ok(())
}
