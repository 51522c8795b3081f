"""How a page looks: on a wide screen, on a phone and on paper."""

from __future__ import annotations

CSS = """
:root { color-scheme: light; --line: #d5dae1; --soft: #f4f6f8; --ink: #1c2530; --dim: #56616e;
  --main: #0072B2; --alert: #b84a00; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; padding: 1.2rem clamp(.8rem, 3vw, 2rem) 3rem; max-width: 78rem;
  color: var(--ink); background: #fff;
  font: 16px/1.5 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; padding-top: .6rem;
  border-top: 2px solid var(--line); }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
p { margin: .4rem 0 .8rem; max-width: 48rem; overflow-wrap: anywhere; }
.dim { color: var(--dim); }
.small, text.small { font-size: .85rem; }
code, pre { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
  font-size: .87rem; }
pre { background: var(--soft); border: 1px solid var(--line); border-radius: 6px;
  padding: .7rem .9rem; margin: .4rem 0 .8rem; white-space: pre-wrap; overflow-wrap: anywhere; }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1rem; margin: .8rem 0 0; font-size: .9rem; }
a { color: var(--main); }
dl.numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr));
  gap: .6rem; margin: 1rem 0; }
dl.numbers div { background: var(--soft); border-radius: 6px; padding: .5rem .8rem; }
dl.numbers dt { color: var(--dim); font-size: .82rem; }
dl.numbers dd { margin: 0; font-size: 1.3rem; overflow-wrap: anywhere; }
.advice { border-left: 5px solid var(--line); background: var(--soft); margin: .7rem 0;
  padding: .5rem .9rem; border-radius: 0 6px 6px 0; }
.advice.warning { border-color: var(--alert); background: #fdf3ec; }
.advice p { margin: .15rem 0; max-width: none; }
/* A shadow at the edge says that there is more. */
.scroll { overflow-x: auto; margin: .5rem 0 1rem; max-width: 100%;
  background: linear-gradient(to right, #fff 40%, transparent) left / 2.5rem 100% local no-repeat,
    linear-gradient(to left, #fff 40%, transparent) right / 2.5rem 100% local no-repeat,
    linear-gradient(to right, #0003, transparent) left / .7rem 100% scroll no-repeat,
    linear-gradient(to left, #0003, transparent) right / .7rem 100% scroll no-repeat; }
.scroll:focus-visible { outline: 2px solid var(--main); }
table { border-collapse: collapse; font-size: .9rem; }
th, td { text-align: left; padding: .28rem .7rem; border-bottom: 1px solid var(--line);
  vertical-align: top; }
thead th { background: var(--soft); white-space: nowrap; }
tbody th { font-weight: 600; }
tbody th, td { max-width: 26rem; overflow-wrap: break-word; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.wide, th.wide { min-width: 16rem; }
.meaning { display: block; min-width: 15rem; color: var(--dim); font-size: .85rem; }
.maps { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr));
  gap: 1rem; }
figure { margin: 0; }
figcaption { font-size: .85rem; color: var(--dim); margin-bottom: .2rem; }
.canvas { position: relative; border: 1px solid var(--line); border-radius: 4px;
  aspect-ratio: 1; overflow: hidden; background: #fff; }
.canvas img { display: block; width: 100%; height: 100%; }
.canvas .name { position: absolute; transform: translate(-50%, -50%); font-weight: 700;
  font-size: .85rem; white-space: nowrap; pointer-events: none; max-width: 60%;
  overflow: hidden; text-overflow: ellipsis;
  text-shadow: 0 0 3px #fff, 0 0 3px #fff, 0 0 4px #fff, 0 0 4px #fff, 0 0 5px #fff; }
ul.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .1rem 1rem; padding: 0;
  margin: .2rem 0 .7rem; font-size: .88rem; }
ul.legend li { overflow-wrap: anywhere; }
.chip { display: inline-block; width: .85em; height: .85em; border-radius: 50%;
  margin-right: .4em; vertical-align: -.08em; }
.scale { display: flex; align-items: center; gap: .5rem; font-size: .88rem; margin: .2rem 0 .7rem; }
.scale span.ramp { display: inline-block; width: 10rem; height: .8rem; border-radius: 3px; }
.bar { display: block; width: 100%; min-width: 6rem; height: .8rem; background: #e8ecf0;
  border-radius: 3px; margin-top: .3rem; overflow: hidden; }
.bar > span { display: block; height: 100%; border-radius: 3px; }
.stack { display: flex; width: 100%; min-width: 12rem; height: 1rem; border-radius: 3px;
  overflow: hidden; margin-top: .2rem; background: #e8ecf0; }
.stack > span { display: block; height: 100%; }
svg { display: block; max-width: none; font: 13px system-ui, Arial, sans-serif; }
svg text { paint-order: stroke; stroke: #fff; stroke-width: 3px; stroke-linejoin: round; }
svg.fit, .fit svg { max-width: 100%; height: auto; }
td.heat { text-align: right; font-variant-numeric: tabular-nums; }
footer { margin-top: 3rem; border-top: 2px solid var(--line); padding-top: .6rem;
  font-size: .85rem; color: var(--dim); }
.word { display: inline-block; max-width: 100%; }
details > summary { cursor: pointer; margin: .5rem 0; }
@media (max-width: 30rem) {
  body { font-size: 15px; }
  th, td { padding: .25rem .4rem; }
  thead th, thead th.number { white-space: normal; }
  tbody th { max-width: 8.5rem; }
  td { max-width: 15rem; overflow-wrap: anywhere; }
  .bar { min-width: 2.8rem; }
  .stack { min-width: 6rem; }
  .wordy .meaning { min-width: 0; }
  /* What is said in words stands below its row. */
  table.wordy, .wordy thead, .wordy tbody { display: block; }
  .wordy tr { display: grid; grid-template-columns: minmax(0, 1fr) repeat(var(--n), 4.3rem);
    border-bottom: 1px solid var(--line); }
  .wordy th, .wordy td { border: 0; overflow-wrap: anywhere; }
  .wordy tbody tr > :last-child { grid-column: 1 / -1; padding-top: 0; }
  .wordy tbody th { max-width: none; font-size: .84rem; }
  .wordy thead th { font-size: .78rem; }
  .wordy thead th:last-child { display: none; }
}
@media print {
  @page { margin: 14mm; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav { display: none; }
  details::details-content { content-visibility: visible; block-size: auto; }
  .scroll { overflow: visible; background: none; }
  table { font-size: 8pt; }
  svg { max-width: 100%; height: auto; }
  .canvas .name { font-size: 6.5pt; }
  .meaning { font-size: 8pt; }
  .maps { grid-template-columns: repeat(3, 1fr); gap: .5rem; }
  figure, .advice, tr, dl.numbers div { break-inside: avoid; }
  h2, h3, ul.legend { break-after: avoid; }
  ul.legend { break-inside: avoid; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
}
"""
