//! One store: its requests, each in its time, and whether it has answered of late.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::TryFutureExt;
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, path};

use super::{ANSWER_TIME, RemoteError};

/// A store that is talked to.
pub(super) struct Store {
    pub(super) objects: Arc<dyn ObjectStore>,
    /// `None` for one that does not list.
    pages: Option<Arc<dyn PaginatedListStore>>,
    last: Mutex<Last>,
}

/// When requests last ended.
#[derive(Debug, Default)]
struct Last {
    /// With an answer.
    answer: Option<Instant>,
    /// Without one, and none has come to any other request since that one began.
    silence: Option<Instant>,
}

impl fmt::Debug for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Store({})", self.objects)
    }
}

impl Store {
    /// One that does not list.
    pub(super) fn of_files(objects: Arc<dyn ObjectStore>) -> Self {
        Self {
            objects,
            pages: None,
            last: Mutex::default(),
        }
    }

    pub(super) fn listing(store: Arc<impl ObjectStore + PaginatedListStore>) -> Self {
        Self {
            pages: Some(Arc::clone(&store) as _),
            ..Self::of_files(store)
        }
    }

    /// An error if it has just let a request wait in vain.
    pub(super) fn check(&self) -> Result<(), RemoteError> {
        let silence = self.last(|last| last.silence);
        match silence.map(|silence| silence.elapsed()) {
            Some(silent) if silent < ANSWER_TIME => Err(RemoteError::NotAsked {
                seconds: silent.as_secs(),
            }),
            _ => Ok(()),
        }
    }

    fn last<T>(&self, look: impl FnOnce(&mut Last) -> T) -> T {
        look(&mut self.last.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// `work`, one request with all its tries, if it is done in time.
    pub(super) async fn request<T>(
        &self,
        work: impl Future<Output = Result<T, RemoteError>>,
    ) -> Result<T, RemoteError> {
        self.request_within(ANSWER_TIME, work).await
    }

    async fn request_within<T>(
        &self,
        time: Duration,
        work: impl Future<Output = Result<T, RemoteError>>,
    ) -> Result<T, RemoteError> {
        let begin = Instant::now();
        let done = tokio::time::timeout(time, work).await;
        let answer = done.unwrap_or(Err(RemoteError::TooSlow));
        let now = Some(Instant::now());
        self.last(|last| match &answer {
            Err(RemoteError::TooSlow) if last.answer < Some(begin) => last.silence = now,
            Err(error) if !error.is_not_found() => {}
            _ => {
                *last = Last {
                    answer: now,
                    silence: None,
                }
            }
        });
        answer
    }

    /// What the store knows of the object at `path`.
    pub(super) async fn head(self: Arc<Self>, path: path::Path) -> Result<ObjectMeta, RemoteError> {
        let head = self.objects.head(&path).map_err(request_failed);
        self.request(head).await
    }

    /// At most `most` objects below `prefix`, those in folders only if `is_deep`; each page in its time.
    pub(super) async fn list(
        self: Arc<Self>,
        prefix: path::Path,
        is_deep: bool,
        most: usize,
    ) -> Result<Vec<ObjectMeta>, RemoteError> {
        let pages = self.pages.as_ref().ok_or_else(does_not_list)?;
        let prefix = Some(prefix.as_ref()).filter(|prefix| !prefix.is_empty());
        let prefix = prefix.map(|prefix| format!("{prefix}{}", path::DELIMITER));
        let mut objects = Vec::new();
        let mut num_listed = 0_usize;
        let mut token = None;
        loop {
            let options = PaginatedListOptions {
                delimiter: (!is_deep).then_some(path::DELIMITER.into()),
                page_token: token,
                ..PaginatedListOptions::default()
            };
            let page = pages.list_paginated(prefix.as_deref(), options);
            let page = self.request(page.map_err(request_failed)).await?;
            token = page.page_token.filter(|token| !token.is_empty());
            let result = page.result;
            // A page that holds nothing counts as well where another is said to come.
            let listed = result.objects.len() + result.common_prefixes.len();
            num_listed += listed.max(usize::from(token.is_some()));
            if num_listed > most {
                return Err(RemoteError::TooMany);
            }
            objects.extend(result.objects);
            if token.is_none() {
                return Ok(objects);
            }
        }
    }
}

fn request_failed(error: object_store::Error) -> RemoteError {
    RemoteError::Request(error.into())
}

fn does_not_list() -> RemoteError {
    RemoteError::Address {
        reason: "HTTP servers do not list: name one file, or use s3:// or gs://".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use object_store::ListResult;
    use object_store::list::PaginatedListResult;
    use object_store::memory::InMemory;

    use super::super::Remote;
    use super::*;

    /// The most objects and folders of a listing.
    const MOST: usize = 100;
    const MOMENT: Duration = Duration::from_millis(20);

    fn wait<T: Send + 'static>(
        work: impl Future<Output = Result<T, RemoteError>> + Send + 'static,
    ) -> Result<T, RemoteError> {
        Remote::wait(&Remote::get().unwrap().spawn(work)).unwrap()
    }

    fn store() -> Arc<Store> {
        Arc::new(Store::of_files(Arc::new(InMemory::new())))
    }

    /// Has `store` asked for something that is answered at once.
    fn answered(store: &Arc<Store>) -> Result<u8, RemoteError> {
        let asked = Arc::clone(store);
        let work = async move { asked.request(async { Ok(7) }).await };
        Remote::get().unwrap().ask(store, work)
    }

    /// Has `store` asked for something that never comes; `meanwhile` is done while it is waited for.
    fn unanswered(store: &Arc<Store>, meanwhile: impl FnOnce() + Send + 'static) {
        let store = Arc::clone(store);
        let never = async move {
            let work = async {
                meanwhile();
                std::future::pending().await
            };
            store.request_within::<()>(MOMENT, work).await
        };
        assert!(matches!(wait(never), Err(RemoteError::TooSlow)));
    }

    #[test]
    fn a_store_that_was_silent_is_not_waited_for_again_until_it_answers() {
        let (silent, other) = (store(), store());
        unanswered(&silent, || {});
        let message = answered(&silent).unwrap_err().to_string();
        assert!(
            message.contains("not asked again: it did not answer 0 s ago"),
            "{message}"
        );
        assert_eq!(answered(&other).unwrap(), 7);
        // What is asked all the same, as ranges are, may be answered.
        let asked = Arc::clone(&silent);
        wait(async move { asked.request(async { Ok(()) }).await }).unwrap();
        assert_eq!(answered(&silent).unwrap(), 7);
        // So may that there is no such object.
        unanswered(&silent, || {});
        let head = wait(Arc::clone(&silent).head("none".into()));
        assert!(head.unwrap_err().is_not_found());
        assert_eq!(answered(&silent).unwrap(), 7);
    }

    #[test]
    fn a_store_that_answers_others_meanwhile_is_not_silent() {
        let store = store();
        let meanwhile = Arc::clone(&store);
        unanswered(&store, move || {
            meanwhile.last(|last| last.answer = Some(Instant::now()));
        });
        assert_eq!(answered(&store).unwrap(), 7);
    }

    /// Lists pages of these numbers of objects and folders, the last of them again and again.
    #[derive(Debug)]
    struct Pages(Vec<[usize; 2]>, bool);

    #[async_trait]
    impl PaginatedListStore for Pages {
        async fn list_paginated(
            &self,
            prefix: Option<&str>,
            options: PaginatedListOptions,
        ) -> object_store::Result<PaginatedListResult> {
            assert_eq!(prefix, Some("a/b/"));
            assert_eq!(options.delimiter.as_deref(), Some("/"));
            let token = options.page_token.unwrap_or_else(|| "0".to_owned());
            let page: usize = token.parse().unwrap();
            let Self(pages, is_endless) = self;
            let [num_objects, num_folders] = pages[page.min(pages.len() - 1)];
            let object = |n: usize| ObjectMeta {
                location: format!("a/b/{page}-{n}").into(),
                last_modified: Default::default(),
                size: 1,
                e_tag: None,
                version: None,
            };
            let more = *is_endless || page + 1 < pages.len();
            Ok(PaginatedListResult {
                result: ListResult {
                    objects: (0..num_objects).map(object).collect(),
                    common_prefixes: (0..num_folders).map(|n| format!("{n}").into()).collect(),
                    extensions: Default::default(),
                },
                page_token: more.then(|| (page + 1).to_string()),
            })
        }
    }

    fn list(pages: &[[usize; 2]], is_endless: bool) -> Result<usize, RemoteError> {
        let store = Store {
            pages: Some(Arc::new(Pages(pages.to_vec(), is_endless))),
            ..Store::of_files(Arc::new(InMemory::new()))
        };
        let listed = wait(Arc::new(store).list("a/b".into(), false, MOST));
        listed.map(|objects| objects.len())
    }

    #[test]
    fn a_folder_is_listed_page_by_page_and_not_without_end() {
        assert_eq!(list(&[[0, 0]], false).unwrap(), 0);
        assert_eq!(list(&[[40, 0], [0, 0], [9, 10]], false).unwrap(), 49);
        assert_eq!(list(&[[60, 20], [20, 0]], false).unwrap(), 80);
        for (page, is_endless) in [
            ([101, 0], false),
            ([40, 0], true),
            ([0, 40], true),
            ([0, 0], true),
        ] {
            let listed = list(&[page], is_endless);
            assert!(matches!(listed, Err(RemoteError::TooMany)), "{page:?}");
        }
    }

    #[test]
    fn what_does_not_list_says_so() {
        let message = wait(store().list("a".into(), true, MOST)).unwrap_err();
        assert!(message.to_string().contains("do not list"), "{message}");
    }
}
