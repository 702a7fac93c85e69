"""Every query of every dashboard panel and rule, asked of real servers; and pictures of the dashboards."""
