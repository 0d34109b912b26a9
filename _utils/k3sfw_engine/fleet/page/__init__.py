"""The page of a cluster: one HTML file that needs nothing else, from what nodes answered.

build           the entry: the page's files and a cluster's answers in, HTML out
contents        everything that the page shows, in its order
problem_cards   a card for each cause, with its fixes
promise_cards   what each promise says, and what became of it
table_lines     the port tables, the groups, and the roles by the tables
node_lines      the list of nodes
pair_states     what each node got from each other node: one character for each pair
pair_views      these as data for the script, as tables and as pictures
still_picture   all pairs as a PNG, for readers without scripts
signs           the states, each with a sign, a name and a colour
embedded        data, style and script inside the page, and the policy for them
messages        its sentences
defaults        how much one page shows

page.html, page.css and page.js beside these files are the page itself. Salt syncs no such files to
a master, so ``master.report`` gets their texts from where they are. Pure.
"""
