"""From views to text, JSON, HTML and metrics. Pure, but for the terminal that it draws on.

Entry: `status_json`, `status_text`, `status_page`, `metrics`: one for each form.
Never: checks a site, or steers anything. Imports base, config and model alone.
"""
