"""``report.html``: one page about a search, in one file that asks no network for anything.

Charts are drawn here as SVG whose colours are the page's own variables: they are there without a script, print, follow
the reader's light or dark setting, and add kilobytes where a plotting library would add megabytes. The page's script
adds pointing, brushing, sorting and keys.
"""
