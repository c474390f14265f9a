"""From compiled agents to what is published: a system's folder, the static site, the Hub, GitHub Releases."""
