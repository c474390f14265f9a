// The system lives in a page: a service worker of an extension may be ended at any time, and the GPU's memory with it.
chrome.action.onClicked.addListener(() => chrome.tabs.create({ url: chrome.runtime.getURL("page.html") }));
